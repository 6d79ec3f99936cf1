"""What results depend on, as plain values for `begin_folder`: contents by their sha256, never by their names alone."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import nn

from monai_retina_gen.data import ICDR_GRADE, MASK_KEYS
from monai_retina_gen.editing import LabelGate
from monai_retina_gen.engines import FundusSegmenter
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.bundle_parts import BundleInverter
from monai_retina_gen.weights import (
    find_bundle,
    read_inference_config,
    read_metadata,
    sha256_file,
    split_bundle_name,
    state_sha256,
    weights_files,
)

FILES = {"image", *MASK_KEYS}
"""Keys of an item that name files."""
PLAIN = (bool, int, float, str)


def items_sha256(items: Iterable[Mapping[str, Any]], keys: Collection[str] = ("image",)) -> str:
    """sha256 of items in their order: the bytes of their files and their other values, not the files' names.

    Of `keys`, those that an item lacks are left out. With the grade goes the one that a label was made from.

    Examples:
        >>> items_sha256([{"grade": 1, "note": "a"}], ["grade"]) == items_sha256([{"grade": 1}], ["grade"])
        True
    """
    wanted = sorted({*keys, ICDR_GRADE} if "grade" in keys else set(keys))
    known: dict[str, str] = {}  # photographs that are listed twice are read once

    def content(key: str, value: Any) -> Any:
        if key not in FILES:
            return value
        if value not in known:
            known[value] = sha256_file(value)
        return known[value]

    rows = [{key: content(key, item[key]) for key in wanted if key in item} for item in items]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def files_sha256(overrides: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of the files that overrides of a configuration name, such as `init_weights`, by key."""
    named = {key: value for key, value in overrides.items() if isinstance(value, str) and os.path.isfile(value)}
    return {key: sha256_file(path) for key, path in named.items()}


def network_record(name: str) -> dict[str, str]:
    """Weights and configuration of `BUNDLE` or `BUNDLE:CONFIG`."""
    bundle, config_name = split_bundle_name(name)
    folder = find_bundle(bundle)
    weights = " ".join(sha256_file(folder / file) for file in weights_files(read_inference_config(folder, config_name)))
    config = folder / "configs" / f"{config_name}.json"
    return {"name": name, "weights_sha256": weights, "config_sha256": sha256_file(config)}


def generator_record(generator: RetinaGenerator) -> dict[str, Any]:
    """A generator's weights as they stand, also where they were never in a file, its settings, and its bundle's parts.

    Examples:
        >>> from monai_retina_gen.generators import VAEGenerator
        >>> from monai_retina_gen.networks import FundusVAE
        >>> network = FundusVAE(image_size=64, latent_dim=8, channels=(8, 8, 8, 8))
        >>> one, two = (generator_record(VAEGenerator(network, temperature=t)) for t in (0.5, 1.0))
        >>> {key for key in one if one[key] != two[key]}
        {'settings'}
    """
    record = {
        "name": generator.name,
        "version": generator.version,
        "weights_sha256": state_sha256(generator.network.state_dict()),
        "settings": _plain(generator),
    }
    directions, inverter = getattr(generator, "directions", None), getattr(generator, "inverter", None)
    if directions is not None:
        record["directions_sha256"] = state_sha256(directions.vectors)
    if isinstance(inverter, BundleInverter):
        record["parts"] = bundle_record(str(inverter.bundle), inverter.config_name)
    return record


def bundle_record(bundle: str, config_name: str) -> dict[str, Any]:
    """All weights that a bundle pins, its configuration, and the networks of other bundles that this names."""
    folder = find_bundle(bundle)
    config = read_inference_config(folder, config_name)
    keys = ("segmenter", "photograph_segmenter", "perceptual_network")
    others = {str(config[key]) for key in keys if config.get(key) is not None}
    return {
        "config_sha256": sha256_file(folder / "configs" / f"{config_name}.json"),
        "weights": {file: pin.get("sha256") for file, pin in read_metadata(folder).get("weights", {}).items()},
        "networks": [network_record(name) for name in sorted(others)],
    }


def gate_record(gate: Any) -> Any:
    """Judges and limits of a `LabelGate`; the type and plain settings of another gate; None without one."""
    if gate is None:
        return None
    if not isinstance(gate, LabelGate):
        return {"type": type(gate).__qualname__, **_plain(gate)}
    limits = None if gate.limits is None else gate.limits.as_dict()
    judges = {"graders": _network(gate.graders), "segmenter": _network(gate.segmenter)}
    return {"type": "LabelGate", **judges, "limits": limits, "image_size": gate.image_size}


def segmenter_record(segmenter: FundusSegmenter) -> dict[str, Any]:
    """Weights and settings of a segmenter."""
    return {
        "name": segmenter.name,
        "weights_sha256": state_sha256(segmenter.network.state_dict()),
        "image_size": segmenter.image_size,
        "thresholds": dict(segmenter.thresholds),
        "flips": len(segmenter.inferer.flips),
        "amp": segmenter.inferer.amp,
    }


def _network(source: Any) -> Any:
    if isinstance(source, str):
        return network_record(source)
    if isinstance(source, nn.Module):
        return {"name": type(source).__name__, "weights_sha256": state_sha256(source.state_dict())}
    return segmenter_record(source) if isinstance(source, FundusSegmenter) else None


def _plain(source: Any) -> dict[str, Any]:
    """Constructor arguments that are kept as plain values: they are the configuration, other attributes may change."""
    names = inspect.signature(type(source)).parameters
    values = {name: getattr(source, name, None) for name in names}
    return {name: value for name, value in values.items() if isinstance(value, PLAIN)}
