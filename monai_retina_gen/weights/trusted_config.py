"""Building a component from a bundle's configuration without running code that we do not know.

A configuration is code: MONAI evaluates `$` expressions and calls any importable `_target_`. So everything that the
wanted key refers to is checked before anything is built: without `trust_code=True` only listed networks and generators
pass, with numbers and plain words as arguments (`trusted_components`), and MONAI is given these entries alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from monai_retina_gen.errors import UntrustedConfigError, WeightsError
from monai_retina_gen.weights.bundle_paths import pinned_sha256
from monai_retina_gen.weights.state_files import load_weights
from monai_retina_gen.weights.trusted_components import unsafe_argument

CHECKPOINT = "models/model.pt"
"""Where a bundle keeps its weights."""

_REFERENCE = re.compile(r"@(\w+)")


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
    """Build what `key` of a bundle's `configs/inference.json` describes.

    Args:
        bundle: the bundle's folder.
        key: top-level key, such as `generator` or `network_def`.
        trust_code: allow any code. Only for bundles whose author you trust.
        config_name: another configuration, such as `train`.

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
    """Bundle and configuration of `BUNDLE` or `BUNDLE:CONFIG`: a bundle may hold further networks.

    Examples:
        >>> split_bundle_name("retina_grader"), split_bundle_name("retina_grader:cross_fitted")
        (('retina_grader', 'inference'), ('retina_grader', 'cross_fitted'))
    """
    found = re.fullmatch(r"(.+):(\w+)", name)
    return (found[1], found[2]) if found else (name, "inference")


def weights_files(config: dict[str, Any]) -> list[str]:
    """Where a configuration's network has its weights, inside the bundle: key `weights_file`, else `models/model.pt`.

    A network that is too large for one file has a list of them there (see `save_parts`).

    Raises:
        WeightsError: if one lies outside the bundle.

    Examples:
        >>> weights_files({}), weights_files({"weights_file": ["models/a_1.pt", "models/a_2.pt"]})
        (['models/model.pt'], ['models/a_1.pt', 'models/a_2.pt'])
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
                pending += _REFERENCE.findall(value)
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
