"""Checks of a bundle's model card (`docs/README.md`) and licences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monai_retina_gen.weights import read_metadata
from monai_retina_gen.zoo.figures import HEADLINE

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
