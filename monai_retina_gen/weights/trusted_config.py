"""Building a component from a bundle's configuration without running code that we do not know.

A configuration is code: MONAI evaluates `$` expressions and calls any importable `_target_`. So everything that the
wanted key refers to is checked before anything is built: without `trust_code=True` only classes pass that are networks
or transforms of MONAI, or networks, generators or transforms of this package.
"""

from __future__ import annotations

import inspect
import json
import pydoc
import re
from pathlib import Path
from typing import Any

from torch import nn

from monai_retina_gen.errors import UntrustedConfigError, WeightsError
from monai_retina_gen.weights.bundle_paths import pinned_sha256
from monai_retina_gen.weights.state_files import load_weights

__all__ = [
    "CHECKPOINT",
    "build_from_bundle",
    "load_network",
    "read_inference_config",
    "split_bundle_name",
    "weights_file",
    "weights_files",
]

CHECKPOINT = "models/model.pt"
"""Where a bundle keeps its weights."""

_TRUSTED_MODULES = re.compile(r"^(monai_retina_gen\.(networks|generators|transforms)|monai\.(networks|transforms))\.")
_REFERENCE = re.compile(r"@([\w:#]+)")


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
        _refuse_unknown_code(config, key, path)
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


def _refuse_unknown_code(config: dict[str, Any], key: str, path: Path) -> None:
    """Walk all that `key` refers to; raise at the first expression or unknown `_target_`."""
    pending, seen = [key], set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for where, value in _leaves(_lookup(config, name, path), name):
            _check_leaf(where, value, path)
            if isinstance(value, str):
                pending += _REFERENCE.findall(value)


def _check_leaf(where: str, value: Any, path: Path) -> None:
    is_target = where.rsplit("::", 1)[-1] == "_target_"
    if isinstance(value, str) and ("$" in value or value.startswith("%")):
        problem = f"an expression ({value[:80]!r})"
    elif is_target and not _is_trusted_class(value):
        problem = f"the component {value!r}"
    else:
        return
    raise UntrustedConfigError(
        f"{path}: `{where}` would run {problem}, which is not a network, generator or transform of MONAI or "
        "monai_retina_gen. If you trust the bundle's author, pass trust_code=True."
    )


def _is_trusted_class(target: Any) -> bool:
    """A class defined in a trusted module, under its full name: not a function that a module merely imports."""
    if not isinstance(target, str) or not _TRUSTED_MODULES.match(target):
        return False
    found = pydoc.locate(target)
    return inspect.isclass(found) and bool(_TRUSTED_MODULES.match(found.__module__ + "."))


def _lookup(config: dict[str, Any], name: str, path: Path) -> Any:
    value: Any = config
    for part in re.split(r"::|#", name):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise UntrustedConfigError(f"{path}: `{name}` is referred to and not there") from None
    return value


def _leaves(value: Any, where: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in _leaves(v, f"{where}::{k}")]
    if isinstance(value, list):
        return [leaf for i, v in enumerate(value) for leaf in _leaves(v, f"{where}::{i}")]
    return [(where, value)]
