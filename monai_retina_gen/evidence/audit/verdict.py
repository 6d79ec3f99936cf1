"""What an audit's figures mean, in words, and the pairs that a person should look at."""

from __future__ import annotations

import math
from typing import Any

from monai_retina_gen.evidence.audit.copying import NEAR, Space
from monai_retina_gen.evidence.audit.rule import LEVEL
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet

OUTCOMES = ("copies found", "suspicious", "no copies found", "no fair ground")
FEW_IMAGES = 50
RULE = (
    "Copies found: more images are near than after training and hold-out were dealt out anew, or the smallest ratio is "
    "smaller than chance makes it. Suspicious: only the mean ratio is too small. A space in which photographs held out "
    "differ from those trained on has no vote; where none has one, the audit finds no fair ground. Each p-value is "
    f"multiplied by the number of questions that vote and compared with {LEVEL}: a generator that holds no training "
    f"photograph is called suspicious or worse in at most {LEVEL:.0%} of audits. The rule was settled after two "
    "others had been tried on real data, and before it was tried on them itself; that the level is shared among the "
    "spaces that vote alone was settled later."
)
LIMITS = [
    "An audit finds copies of whole photographs. It does not find a copied detail, and finding nothing does not prove "
    "that nothing was memorised, nor that the images are anonymous.",
    "It speaks of the images that were audited, of these distances and of photographs like those held out.",
    "Photographs of one patient on both sides, where patients are unknown, make the comparison too lenient. A hold-out "
    "from another camera or clinic makes it too severe.",
    "Features of a network that was trained on the training photographs are no fair ground, even where the test of "
    "that sees nothing: audit with an extractor that has not seen them, and look at the pixels.",
    "Look at the pictures of the closest pairs: generated, nearest training photograph, nearest photograph held out.",
]


def audit_verdict(result: dict[str, Any]) -> dict[str, Any]:
    """`outcome` and the sentences that say why, by `RULE`; the worse of the spaces that vote counts."""
    outcomes, sentences = [], []
    for name, figures in result["spaces"].items():
        outcomes.append(_outcome(figures["tests"]) if figures["fair"] else OUTCOMES[-1])
        sentences += _sentences(name, figures, result["data"])
    few = min(result["data"][f"n_{name}"] for name in ("train", "holdout", "generated"))
    if few < FEW_IMAGES:
        sentences.append(f"The smallest set has {few} images: under {FEW_IMAGES}, only plain copies can be found.")
    if result["edits"]:
        sentences.append(
            f"{result['edits']} of the images are edits or reconstructions. Each was compared with all photographs but "
            "its own source. An edit shows its patient's eye: it remains patient data, whatever this audit says."
        )
    outcome = min(outcomes, key=OUTCOMES.index)
    return {"outcome": outcome, "sentences": [f"Verdict: {outcome}.", *sentences]}


def _outcome(tests: dict[str, Any]) -> str:
    if min(tests[name]["p_value"] for name in ("near", "smallest")) < LEVEL:
        return "copies found"
    return "suspicious" if tests["mean"]["p_value"] < LEVEL else "no copies found"


def _sentences(name: str, figures: dict[str, Any], data: dict[str, Any]) -> list[str]:
    tests = figures["tests"]
    found = [_near_sentence(name, figures, data), _smallest_sentence(name, tests["smallest"])]
    if not figures["fair"]:
        return [
            *found,
            f"In {name} the photographs held out themselves differ from the training photographs (KID, "
            f"{_p(figures['alike'])}): an extractor that was trained on them does that, and so does another source. "
            f"What is found in {name} is no proof and has no vote.",
        ]
    return found + ([_mean_sentence(name, tests["mean"])] if tests["mean"]["p_value"] < LEVEL else [])


def _near_sentence(name: str, figures: dict[str, Any], data: dict[str, Any]) -> str:
    generated, holdout, near = figures["generated"], figures["holdout"], figures["tests"]["near"]
    return (
        f"In {name} {generated['near']} of {generated['n']} images ({generated['near_share']:.1%}) lie less than {NEAR}"
        f" times as far from a training photograph as from one held out. {near['expected']:.1f} are expected where "
        f"nothing is copied ({_p(near['p_value'])}, corrected for {figures['tests']['questions']} tests); of the "
        f"photographs held out themselves {holdout['near']} of {holdout['n']} ({holdout['near_share']:.1%}) do. "
        + _power(figures["tests"]["detectable"], data["n_generated"])
    )


def _smallest_sentence(name: str, smallest: dict[str, Any]) -> str:
    return (
        f"The smallest ratio in {name} is {smallest['ratio']:.2g} ({_p(smallest['p_value'])}), that of photographs "
        f"held out {smallest['holdout_ratio']:.2g}; below {smallest['threshold']:.2g} a single image counts as a copy."
    )


def _mean_sentence(name: str, mean: dict[str, Any]) -> str:
    return (
        f"In {name} the images as a whole lie nearer to training than to photographs held out (mean ratio "
        f"{mean['ratio']:.2f}, expected {mean['expected']:.2f}, {_p(mean['p_value'])}): a sign of memorising."
    )


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 0.001 else "p < 0.001"


def _power(detectable: int | None, count: int) -> str:
    if detectable is None:
        return "With these numbers of images this test could have found no share of copies."
    return f"This test would have noticed {detectable} more copies of different photographs ({detectable / count:.1%})."


def closest_pairs(
    space: Space, generated: ImageSet, train: ImageSet, holdout: ImageSet, count: int
) -> list[dict[str, Any]]:
    """The images with the smallest ratio, with their nearest training photograph and nearest one held out."""
    ratios = space.ratios
    to_train, to_holdout = space.to_train.min(dim=1), space.to_holdout.min(dim=1)
    pairs = []
    for row in ratios.argsort()[:count].tolist():
        training, held_out = int(to_train.indices[row]), int(to_holdout.indices[row])
        ratio = float(ratios[row])
        pairs.append(
            {
                "rows": (row, training, held_out),
                "generated": generated.names[row],
                "training": train.names[training],
                "holdout": holdout.names[held_out],
                "distance_to_training": float(to_train.values[row]),
                "distance_to_holdout": float(to_holdout.values[row]),
                "ratio": ratio if math.isfinite(ratio) else None,
            }
        )
    return pairs
