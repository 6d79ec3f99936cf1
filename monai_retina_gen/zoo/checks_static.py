"""Checks of a bundle that read its files alone: layout, metadata, version, card, licences, paths, weights.

Each takes the bundle's folder and returns what is wrong, in words; nothing wrong is an empty list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai_retina_gen import __version__
from monai_retina_gen.errors import WeightsError, ZooError
from monai_retina_gen.weights import CHECKPOINT, load_state, read_metadata
from monai_retina_gen.zoo.packing import HEADLINE, bundle_files, metrics_problems

SCHEMA = Path(__file__).parent / "schemas" / "meta_schema_20240725.json"
"""MONAI's metadata schema, written from its specification: no network is needed."""

REQUIRED_FILES = (
    *("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf", CHECKPOINT),
    *(f"configs/{name}.json" for name in ("metadata", "train", "evaluate", "inference", "multi_gpu_train")),
)

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
_ABSOLUTE = re.compile(
    r"(?<![\w.@)\]}:/-])(/(?:home|root|Users|work|media|mnt|tmp|opt|var|srv|scratch|data)/[^\s'\"`,;]*|[A-Z]:\\[^\s'\"`]*)"
)


def check_layout(bundle: Path) -> list[str]:
    """The files that MONAI and this package ask for, at most 25 MB each, and only pinned ones in `models/`."""
    problems = [f"{name} is missing" for name in REQUIRED_FILES if not (bundle / name).is_file()]
    if not _NAME.fullmatch(bundle.name):
        problems.append(f"the name {bundle.name!r} is not lower_snake_case of at least two words")
    try:
        bundle_files(bundle)
    except ZooError as error:
        problems.append(str(error))
    return problems


def check_metadata(bundle: Path) -> list[str]:
    """`metadata.json` against MONAI's schema, `eval_metrics` among it; the tensor first in network inputs."""
    import jsonschema  # pinning weights needs no schema

    metadata = read_metadata(bundle)
    validator = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    found = sorted(validator.iter_errors(metadata), key=lambda e: list(map(str, e.absolute_path)))
    problems = [f"metadata.json, {'.'.join(map(str, e.absolute_path)) or 'top'}: {e.message[:300]}" for e in found]
    problems += metrics_problems(metadata.get("eval_metrics", {}))
    first = next(iter(metadata.get("network_data_format", {}).get("inputs", {"image": 0})))
    if first != "image":  # MONAI Label takes the first input for the image
        problems.append(f"network_data_format.inputs begins with {first!r}, want 'image'")
    return problems


def check_version(bundle: Path) -> list[str]:
    """The version is in the changelog, of single digits, and does not ask for a newer package than this."""
    metadata = read_metadata(bundle)
    version = str(metadata.get("version", ""))
    problems = []
    if version not in metadata.get("changelog", {}):
        problems.append(f"version {version!r} is not in the changelog")
    if not re.fullmatch(r"\d\.\d\.\d", version):
        problems.append(f"version {version!r}: want three single digits, as MONAI sorts versions as text")
    needed = metadata.get("required_packages_version", {}).get("monai-retina-gen")
    if needed is None:
        problems.append("required_packages_version lacks monai-retina-gen")
    elif _numbers(needed) > _numbers(__version__):
        problems.append(f"it needs monai-retina-gen {needed}, this is {__version__}")
    return problems


def check_paths(bundle: Path) -> list[str]:
    """No absolute path of somebody's machine in configurations or documents."""
    problems = []
    for name, text in _texts(bundle):
        problems += [f"{name} names the absolute path {found!r}" for found in sorted(set(_ABSOLUTE.findall(text)))]
    return problems


def check_weights(bundle: Path) -> list[str]:
    """All pinned weights have their sha256 and size and load with `weights_only=True` as finite tensors."""
    pins: dict[str, dict[str, Any]] = read_metadata(bundle).get("weights", {})
    problems = [] if CHECKPOINT in pins else [f"metadata.json does not pin {CHECKPOINT}"]
    for name, pin in pins.items():
        try:
            load_state(bundle / name, sha256=pin.get("sha256"))
        except WeightsError as error:
            problems.append(str(error))
            continue
        if (bundle / name).stat().st_size != pin.get("bytes"):
            problems.append(f"{name} has {(bundle / name).stat().st_size} bytes, {pin.get('bytes')} are pinned")
    return problems


def _texts(bundle: Path) -> Iterator[tuple[str, str]]:
    for path in sorted([*bundle.glob("configs/*"), *bundle.glob("docs/*")]):
        if path.suffix in (".json", ".yaml", ".yml", ".conf", ".md", ".txt"):
            yield path.relative_to(bundle).as_posix(), path.read_text(encoding="utf-8")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


CARD = "docs/README.md"
SECTIONS = (
    "Authors",
    "Tags",
    "Model Description",
    "Data",
    "Performance",
    "MONAI Bundle Commands",
    "Limitations",
    "References",
    "License",
)
"""Of MONAI's template, those that say something here."""

_LICENCE = re.compile(r"Apache-2\.0|CC[ -]BY|CC0|MIT|BSD")


def check_card(bundle: Path) -> list[str]:
    """All sections are there and filled, it is said that this is not for clinical use, links and figures are right."""
    path = bundle / CARD
    if not path.is_file():
        return [f"{CARD} is missing"]
    text = path.read_text(encoding="utf-8")
    sections = card_sections(text)
    problems = [f"{CARD} lacks a filled section `## {name}`" for name in SECTIONS if not sections.get(name)]
    if "not for clinical use" not in text.lower():
        problems.append(f"{CARD} does not say that the bundle is not for clinical use")
    for target in re.findall(r"\]\(([^)#:\s]+)\)", text):
        if not (path.parent / target).exists():
            problems.append(f"{CARD} links to {target}, which is not there")
    return problems + _unquoted_figures(sections.get("Performance", ""), read_metadata(bundle))


def check_licences(bundle: Path) -> list[str]:
    """The licences of code, weights and training data are stated: in the card, the metadata and their own files."""
    problems = []
    for name, least in (("LICENSE", 1000), ("docs/data_license.txt", 100)):
        if not (bundle / name).is_file() or (bundle / name).stat().st_size < least:
            problems.append(f"{name} is missing or holds no licence")
    card = bundle / CARD
    stated = card_sections(card.read_text(encoding="utf-8")).get("License", "") if card.is_file() else ""
    metadata = read_metadata(bundle).get("weights_licence", "")
    for where, text in ((f"{CARD}, License,", stated), ("metadata.json, weights_licence,", metadata)):
        if not states_licence_of_weights(text):
            problems.append(f"{where} does not state the licence of the weights: {text.strip()[:100]!r}")
    if not re.search(r"\bdata\b", stated, re.IGNORECASE):
        problems.append(f"{CARD}, License, does not name the licence of the data")
    return problems


def states_licence_of_weights(text: str) -> bool:
    """Whether a text has a statement `... weights ...: <licence>`.

    Examples:
        >>> states_licence_of_weights("Code and weights: Apache-2.0."), states_licence_of_weights("No weights yet.")
        (True, False)
    """
    found = re.search(r"\bweights\b[^:.]*:([^.]|\.\d)*", text, re.IGNORECASE)
    return found is not None and _LICENCE.search(found.group()) is not None


def card_sections(text: str) -> dict[str, str]:
    """Text of each `## ` section, sub-sections included.

    Examples:
        >>> card_sections("# x" + chr(10) + "## Data" + chr(10) + "IDRiD")
        {'Data': 'IDRiD'}
    """
    parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _unquoted_figures(performance: str, metadata: dict[str, Any]) -> list[str]:
    """Headline figures of the metadata that the card does not have, rounded as it likes."""
    numbers = set(re.findall(r"-?\d+(?:\.\d+)?", performance.replace("\N{MINUS SIGN}", "-")))
    metrics = metadata.get("eval_metrics", {})
    return [
        f"{CARD}, Performance, does not quote {name} = {metrics[name]:.4g} of the metadata"
        for name in HEADLINE
        if name in metrics and not any(f"{metrics[name]:.{digits}f}" in numbers for digits in range(1, 5))
    ]
