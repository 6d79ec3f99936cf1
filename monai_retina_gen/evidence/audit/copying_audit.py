"""The copying audit: whether a generator gives back photographs that it was trained on.

An audit can find copies; it cannot prove that there are none, and it is no measure of anonymity.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_image, write_json
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.evidence.report.pictures import rows_of
from monai_retina_gen.metrics import kernel_permutation_p_value

from .copying import (
    NEAR,
    Space,
    copying_figures,
    data_copying_figures,
    flipped,
    make_space,
    pixel_descriptors,
    same_source,
)
from .rule import ALIKE, LEVEL, QUESTIONS, dealt_anew, ratio_tests

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
AUDIT_FILE, PAIRS, SMALLEST = "audit.json", 10, 4


def audit(
    generated: ImageSet, train: ImageSet, holdout: ImageSet, *, extractor: Extractor, out: str | Path
) -> dict[str, Any]:
    """Search for copies of training photographs, in feature and in pixel space, with flips and shifts.

    An image is near where its distance to the nearest training photograph is below half of that to the nearest
    photograph held out. What the figures justify is decided by `evidence.audit.rule`, which see, and said in `verdict`.

    Args:
        generated: images under audit; edits have their source in `groups` and are not compared with it.
        train: photographs that the generator was trained on.
        holdout: photographs of the same kind that it has not seen.
        extractor: of the feature space, best from a network that saw neither.
        out: folder for `audit.json` and pictures of the closest pairs, which show training photographs.

    Returns:
        What `audit.json` holds.

    Raises:
        DatalistError: for fewer than four images or patients in a set, or one in both training and hold-out.
    """
    _check(generated, train, holdout)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"train": train, "holdout": holdout, "generated": generated}
    result: dict[str, Any] = {
        "kind": "audit",
        "extractor": extractor.as_dict(),
        "data": {f"n_{name}": len(images) for name, images in sets.items()} | {"image_size": generated.size},
        "edits": sum(bool(source) for source in generated.groups),
        "spaces": {},
        "pictures": {},
        "pairs": {},
    }
    labels = dealt_anew(train, holdout)
    spaces = _spaces(sets, extractor)
    questions = QUESTIONS * (sum(alike >= ALIKE for _, alike in spaces.values()) or len(spaces))
    for name, (space, alike) in spaces.items():
        found = {"tests": ratio_tests(space, labels, questions=questions), "alike": alike, "fair": alike >= ALIKE}
        result["spaces"][name] = copying_figures(space) | {"data_copying": data_copying_figures(space)} | found
        pairs = closest_pairs(space, generated, train, holdout, PAIRS)
        result["pairs"][name] = [{k: v for k, v in pair.items() if k != "rows"} for pair in pairs]
        result["pictures"][name] = f"closest_{name}.png"
        columns = [s.floats([pair["rows"][i] for pair in pairs]) for i, s in enumerate((generated, train, holdout))]
        write_image(folder / result["pictures"][name], rows_of(columns))
    result |= {"verdict": audit_verdict(result), "rule": RULE, "limits": LIMITS}
    write_json(result, folder / AUDIT_FILE)
    return result


def _check(generated: ImageSet, train: ImageSet, holdout: ImageSet) -> None:
    for name, images in (("generated", generated), ("train", train), ("holdout", holdout)):
        count = len(images) if name == "generated" else len(set(images.groups))
        if count < SMALLEST:
            kind = "images" if name == "generated" else "photographs or patients"
            raise DatalistError(f"{name} has {count} {kind}; an audit needs at least {SMALLEST} of each")
    shared = sorted(set(train.groups) & set(holdout.groups))
    if shared:
        raise DatalistError(
            f"train and holdout share {len(shared)} photographs or patients, such as {shared[:3]}: hold out others, "
            "or every image looks near to both"
        )


def _spaces(sets: dict[str, ImageSet], extractor: Extractor) -> dict[str, tuple[Space, float]]:
    """Distances, and the p-value that training photographs and those held out are alike, in each space."""
    features = {name: images.features(extractor) for name, images in sets.items()}
    pixels = {name: pixel_descriptors(images.floats()) for name, images in sets.items()}

    def turned(name: str, rows: list[int]) -> Tensor:
        images = sets[name].select(rows)
        others = islice(flipped(images.images), 1, None)  # the first is the image as it is
        return torch.stack([features[name][rows], *(replace(images, images=x).features(extractor) for x in others)])

    def moved(name: str, rows: list[int]) -> Tensor:
        return pixel_descriptors(sets[name].select(rows).floats(), moved=True)

    sources = sets["generated"].groups
    names = [list(zip(s.names, s.groups, strict=True)) for s in (sets["train"], sets["holdout"])]
    plain_sources = [Path(source).name for source in sources]
    excluded = [same_source(sources, n) | same_source(plain_sources, n) for n in names]
    found = {}
    for space, variants, plain in (("features", turned, features), ("pixels", moved, pixels)):
        made = make_space(variants, plain, (excluded[0], excluded[1]), sets["holdout"].groups)
        found[space] = made, kernel_permutation_p_value(plain["train"], plain["holdout"])
    return found


def audit_verdict(result: dict[str, Any]) -> dict[str, Any]:
    """`outcome` and the sentences that say why, by `RULE`; the worse of the spaces that vote counts."""
    outcomes, sentences, data = [], [], result["data"]
    for name, figures in result["spaces"].items():
        outcomes.append(_outcome(figures["tests"]) if figures["fair"] else OUTCOMES[-1])
        sentences += _sentences(name, figures, data["n_generated"])
    few = min(data[f"n_{name}"] for name in ("train", "holdout", "generated"))
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


def _sentences(name: str, figures: dict[str, Any], count: int) -> list[str]:
    generated, holdout, tests = (figures[key] for key in ("generated", "holdout", "tests"))
    near, smallest, mean, detectable = (tests[key] for key in ("near", "smallest", "mean", "detectable"))
    power = "With these numbers of images this test could have found no share of copies."
    if detectable is not None:
        share = f"{detectable} more copies of different photographs ({detectable / count:.1%})"
        power = f"This test would have noticed {share}."
    found = [
        f"In {name} {generated['near']} of {generated['n']} images ({generated['near_share']:.1%}) lie less than {NEAR}"
        f" times as far from a training photograph as from one held out. {near['expected']:.1f} are expected where "
        f"nothing is copied ({_p(near['p_value'])}, corrected for {tests['questions']} tests); of the "
        f"photographs held out themselves {holdout['near']} of {holdout['n']} ({holdout['near_share']:.1%}) do. "
        + power,
        f"The smallest ratio in {name} is {smallest['ratio']:.2g} ({_p(smallest['p_value'])}), that of photographs "
        f"held out {smallest['holdout_ratio']:.2g}; below {smallest['threshold']:.2g} a single image counts as a copy.",
    ]
    if not figures["fair"]:
        found.append(
            f"In {name} the photographs held out themselves differ from the training photographs (KID, "
            f"{_p(figures['alike'])}): an extractor that was trained on them does that, and so does another source. "
            f"What is found in {name} is no proof and has no vote."
        )
    elif mean["p_value"] < LEVEL:
        found.append(
            f"In {name} the images as a whole lie nearer to training than to photographs held out (mean ratio "
            f"{mean['ratio']:.2f}, expected {mean['expected']:.2f}, {_p(mean['p_value'])}): a sign of memorising."
        )
    return found


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 0.001 else "p < 0.001"


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
