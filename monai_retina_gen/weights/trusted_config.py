"""Building a component from a bundle's configuration without running code that we do not know.

A configuration is code: MONAI evaluates `$` expressions and calls any importable `_target_`. So everything that the
wanted key refers to is checked before anything is built: without `trust_code=True` only listed networks and generators
pass, with numbers and plain words as arguments, and MONAI is given these entries alone. A list of modules would not be
enough (GHSA-873f-pvrv-4x83): `monai.transforms.LoadImage(reader="subprocess.Popen")` imports what an argument tells it.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from monai_retina_gen import networks
from monai_retina_gen.errors import UntrustedConfigError, WeightsError
from monai_retina_gen.weights.bundle_paths import pinned_sha256
from monai_retina_gen.weights.state_files import load_weights

TRUSTED_GENERATORS = (
    *("DRGANGenerator", "GANGenerator", "LesionPainterGenerator", "StyleGAN3Generator", "VAEGenerator"),
)
"""In `monai_retina_gen.generators`, which lies above this room."""

TRUSTED_MONAI_NETWORKS = (
    *("AttentionUnet", "AutoEncoder", "AutoencoderKL", "BasicUNet", "BasicUNetPlusPlus", "Classifier", "Critic"),
    *("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264", "DiffusionModelUNet", "Discriminator", "DynUNet"),
    *("Generator", "HighResNet", "PatchDiscriminator", "Regressor", "ResNet", "SegResNet", "SwinUNETR", "UNETR"),
    *("UNet", "VNet", "VQVAE", "VarAutoEncoder", "ViT"),
)
"""In `monai.networks.nets`: those that neither download nor read files."""

_WORD = re.compile(r"[A-Za-z0-9_+-]{0,64}")
_REFERENCE = re.compile(r"@\w+((::|#)\w+)*")
_OUTSIDE = re.compile(r"pretrained|download|url|path|file|folder|store|cache|module|import")


@lru_cache(maxsize=1)
def trusted_components() -> frozenset[str]:
    """Full names of all that may be built: the listed ones, and the public networks of this package."""
    own = [name for name, found in vars(networks).items() if inspect.isclass(found) and issubclass(found, nn.Module)]
    return frozenset(
        [f"monai_retina_gen.networks.{name}" for name in own]
        + [f"monai_retina_gen.generators.{name}" for name in TRUSTED_GENERATORS]
        + [f"monai.networks.nets.{name}" for name in TRUSTED_MONAI_NETWORKS]
    )


def unsafe_argument(key: str, value: Any) -> str:
    """Why an entry of a configuration, as JSON has it, may not be used, `""` where it may.

    Of dictionaries and lists the entries are asked for one by one.

    Examples:
        >>> unsafe_argument("norm", "batch"), unsafe_argument("image_size", "@image_size")
        ('', '')
        >>> unsafe_argument("reader", "subprocess.Popen")
        "the text 'subprocess.Popen'"
    """
    if key == "_target_":
        return "" if isinstance(value, str) and value in trusted_components() else f"the component {value!r}"
    if key.startswith("_") and key != "_desc_":
        return f"the instruction {key!r}"  # to MONAI: not to build, to build otherwise, to build something else before
    if set(key) & set("$%@#:"):
        return f"the name {key[:80]!r}"
    number = isinstance(value, (int, float)) and value is not True
    if value and (key == "pretrained" or (_OUTSIDE.search(key.lower()) and not number)):
        return f"the argument {key!r}, which may read, write or download"
    if isinstance(value, str) and key != "_desc_" and not (_WORD.fullmatch(value) or _REFERENCE.fullmatch(value)):
        return f"the text {value[:80]!r}"
    if key == "_desc_" and not (isinstance(value, str) and not value.startswith(("$", "@", "%"))):
        return f"the description {str(value)[:80]!r}"
    return "" if isinstance(value, (str, bool, int, float, list, Mapping, type(None))) else f"a {type(value).__name__}"


CHECKPOINT = "models/model.pt"
"""Where a bundle keeps its weights."""


def read_inference_config(bundle: Path, name: str = "inference") -> dict[str, Any]:
    """`configs/inference.json` of a bundle (or another by name); `WeightsError` where it is missing or not JSON."""
    path = bundle / "configs" / f"{name}.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"bundle {bundle} has no configs/{name}.json") from None
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is not valid JSON: {error}") from error
    return config


def build_from_bundle(bundle: Path, key: str, *, trust_code: bool = False, config_name: str = "inference") -> Any:
    """Build what a top-level `key`, such as `generator` or `network_def`, of a bundle's configuration describes.

    `trust_code` allows any code: only for bundles whose author you trust.

    Raises:
        UntrustedConfigError: if the key needs an expression or another component than those we know.
        WeightsError: if the configuration lacks the key.
    """
    from monai.bundle import ConfigParser

    config, path = read_inference_config(bundle, config_name), bundle / "configs" / f"{config_name}.json"
    if key not in config:
        raise WeightsError(f"{path} has no key `{key}`: the bundle does not describe one")
    if not trust_code:
        config = _checked_entries(config, key, path)
    config["bundle_root"] = str(bundle)
    parser = ConfigParser(config)
    parser.parse()
    return parser.get_parsed_content(key)


def split_bundle_name(name: str) -> tuple[str, str]:
    """Bundle and configuration of `BUNDLE` or `BUNDLE:CONFIG`: a bundle may hold further networks."""
    found = re.fullmatch(r"(.+):(\w+)", name)
    return (found[1], found[2]) if found else (name, "inference")


def weights_files(config: dict[str, Any]) -> list[str]:
    """Where a configuration's network has its weights, inside the bundle: key `weights_file`, else `models/model.pt`.

    A network that is too large for one file has a list of them there (see `save_parts`). `WeightsError` if one lies
    outside the bundle.
    """
    named = config.get("weights_file", CHECKPOINT)
    paths = [str(path) for path in (named if isinstance(named, list) else [named])]
    for path in paths:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise WeightsError(
                f"weights_file {path!r} lies outside the bundle: want a path inside, such as {CHECKPOINT}"
            )
    return paths


def weights_file(config: dict[str, Any]) -> str:
    """The one file of `weights_files`; `WeightsError` where there are several."""
    paths = weights_files(config)
    if len(paths) != 1:
        raise WeightsError(f"weights_file names {len(paths)} files ({', '.join(paths)}): one is wanted here")
    return paths[0]


def load_network(bundle: Path, *, trust_code: bool = False, config_name: str = "inference") -> nn.Module:
    """The network (`network_def`) of a bundle with its pinned weights, in evaluation mode.

    Args:
        bundle: the bundle's folder.
        trust_code: see `build_from_bundle`.
        config_name: another configuration, for a further network of the bundle; its key `weights_file` names the
            weights.
    """
    network: nn.Module = build_from_bundle(bundle, "network_def", trust_code=trust_code, config_name=config_name)
    files = weights_files(read_inference_config(bundle, config_name))
    load_weights(network, [bundle / file for file in files], sha256=[pinned_sha256(bundle, file) for file in files])
    return network.eval().requires_grad_(False)


def _checked_entries(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """The entries that `key` refers to, whole; raises at the first that would run code we do not know."""
    pending, checked = [key], dict[str, Any]()
    while pending:
        name = pending.pop()
        if name in checked or name == "bundle_root":
            continue
        if name not in config:
            raise UntrustedConfigError(f"{path}: `{name}` is referred to and not there")
        checked[name] = config[name]
        for where, own, value in _entries(config[name], name, name):
            problem = unsafe_argument(own, value)
            if problem:
                raise UntrustedConfigError(
                    f"{path}: `{where}` asks for {problem}; without trust are built networks and generators of "
                    "monai_retina_gen and MONAI alone, with numbers and plain words. If you trust the bundle's author, "
                    "pass trust_code=True."
                )
            if isinstance(value, str):
                pending += re.findall(r"@(\w+)", value)
    return checked


def _entries(value: Any, where: str, own: str) -> Iterator[tuple[str, str, Any]]:
    """All entries below: place, name (a list's entries have the list's) and value."""
    yield where, own, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _entries(each, f"{where}::{key}", key)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _entries(each, f"{where}::{index}", own)
