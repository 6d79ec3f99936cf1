"""What an audit's figures mean, in words, and the pairs that a person should look at."""

from __future__ import annotations

import math
from typing import Any

from monai_retina_gen.apps.copying import NEAR, Space, flagged_more_often
from monai_retina_gen.apps.image_sets import ImageSet

__all__ = ["LIMITS", "closest_pairs", "verdict"]

SIGNIFICANT = 0.05
NEARER = -3.0
FEW_IMAGES = 50
LIMITS = [
    "An audit finds copies of whole photographs. It does not find a copied detail, and finding nothing does not prove "
    "that nothing was memorised, nor that the images are anonymous.",
    "It speaks of the images that were audited, of these distances and of photographs like those held out.",
    "Photographs of one patient on both sides, where patients are unknown, make the comparison too lenient.",
    "Look at the pictures of the closest pairs: generated, nearest training photograph, nearest photograph held out.",
]


def verdict(result: dict[str, Any]) -> dict[str, Any]:
    """`outcome` and the sentences that say why.

    `copies found`: near images are more frequent than among photographs held out (Fisher, p < 0.05). `suspicious`: too
    few for that, but no photograph held out is near. `no copies found` otherwise. The worse of the two spaces counts.
    """
    outcomes, sentences = [], []
    for name, figures in result["spaces"].items():
        outcome, sentence = _of_space(name, figures)
        outcomes.append(outcome)
        sentences += [sentence, *_nearer_as_a_whole(name, figures)]
    outcome = next(o for o in ("copies found", "suspicious", "no copies found") if o in outcomes)
    few = min(result["data"][f"n_{name}"] for name in ("train", "holdout", "generated"))
    if few < FEW_IMAGES:
        sentences.append(f"The smallest set has {few} images: under {FEW_IMAGES}, only plain copies can be found.")
    if result["edits"]:
        sentences.append(
            f"{result['edits']} of the images are edits or reconstructions. Each was compared with all photographs but "
            "its own source. An edit shows its patient's eye: it remains patient data, whatever this audit says."
        )
    return {"outcome": outcome, "sentences": [f"Verdict: {outcome}.", *sentences]}


def _of_space(name: str, figures: dict[str, Any]) -> tuple[str, str]:
    generated, holdout = figures["generated"], figures["holdout"]
    p_value = flagged_more_often(generated, holdout)
    sentence = (
        f"In {name} {generated['near']} of {generated['n']} images ({generated['near_share']:.1%}) lie less than "
        f"{NEAR} times as far from a training photograph as from one held out; of the photographs held out "
        f"themselves {holdout['near']} of {holdout['n']} ({holdout['near_share']:.1%}) do (p = {p_value:.2g})."
    )
    if generated["near"] and p_value < SIGNIFICANT:
        return "copies found", sentence
    # too few for a test, but nothing of the kind happens by chance: each may be a copy
    lone = generated["near"] > 0 and holdout["near"] == 0
    return ("suspicious" if lone else "no copies found"), sentence


def _nearer_as_a_whole(name: str, figures: dict[str, Any]) -> list[str]:
    copying = figures["data_copying"]
    if copying["generated"] >= NEARER:
        return []
    start = f"In {name} the images as a whole lie nearer to training than photographs held out do (C_T "
    if copying["towards_holdout"] < NEARER:
        return [
            f"{start}{copying['generated']:.1f}), but to photographs held out too ({copying['towards_holdout']:.1f}): "
            "as smooth or typical images do, not copies alone."
        ]
    return [f"{start}{copying['generated']:.1f}), and not to photographs held out: a sign of memorising."]


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
