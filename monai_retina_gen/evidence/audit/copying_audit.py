"""Whether a generator gives back photographs that it was trained on.

An audit can find copies; it cannot prove that there are none, and it is no measure of anonymity.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_image, write_json
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.audit.copying import (
    Space,
    copying_figures,
    data_copying_figures,
    make_space,
    same_source,
)
from monai_retina_gen.evidence.audit.pixel_descriptor import flipped, pixel_descriptors
from monai_retina_gen.evidence.audit.rule import QUESTIONS, dealt_anew, is_fair, ratio_tests
from monai_retina_gen.evidence.audit.verdict import LIMITS, RULE, audit_verdict, closest_pairs
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.evidence.report.pictures import rows_of
from monai_retina_gen.metrics import kernel_permutation_p_value

__all__ = ["audit"]

AUDIT_FILE = "audit.json"
PAIRS = 10
SMALLEST = 4


def audit(
    generated: ImageSet, train: ImageSet, holdout: ImageSet, *, extractor: Extractor, out: str | Path
) -> dict[str, Any]:
    """Search for copies of training photographs, in feature and in pixel space, with flips and shifts.

    An image counts as near where its distance to the nearest training photograph is below half of that to the nearest
    photograph held out; how often photographs held out come out near by the same rule stands beside it. What the
    figures justify is decided by `audit_rule`, which see, and said in `verdict`.

    Args:
        generated: images under audit; those with a source in `groups` are edits and are not compared with it.
        train: photographs that the generator was trained on.
        holdout: photographs of the same kind that it has not seen.
        extractor: features of the feature space, best from a network that saw neither.
        out: folder for `audit.json` and the pictures of the closest pairs, which show training photographs.

    Returns:
        What `audit.json` holds.

    Raises:
        DatalistError: if a set has fewer than four images (photographs: patients), or a photograph or patient stands
            in both training and hold-out.
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
    spaces = {"features": _feature_space(sets, extractor), "pixels": _pixel_space(sets)}
    questions = QUESTIONS * (sum(is_fair(alike) for _, alike in spaces.values()) or len(spaces))
    for name, (space, alike) in spaces.items():
        found = {"tests": ratio_tests(space, labels, questions=questions), "alike": alike, "fair": is_fair(alike)}
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


def _excluded(sets: dict[str, ImageSet]) -> tuple[Tensor, Tensor]:
    sources = sets["generated"].groups
    names = [list(zip(s.names, s.groups, strict=True)) for s in (sets["train"], sets["holdout"])]
    plain_sources = [Path(source).name for source in sources]
    masks = [same_source(sources, n) | same_source(plain_sources, n) for n in names]
    return masks[0], masks[1]


def _rows(images: ImageSet, rows: list[int] | None) -> ImageSet:
    return images if rows is None else images.select(rows)


def _feature_space(sets: dict[str, ImageSet], extractor: Extractor) -> tuple[Space, float]:
    plain = {name: images.features(extractor) for name, images in sets.items()}

    def variants(name: str, rows: list[int] | None) -> Tensor:
        images, own = _rows(sets[name], rows), plain[name] if rows is None else plain[name][rows]
        turned = islice(flipped(images.images), 1, None)  # the first is the image as it is
        return torch.stack([own, *(images.with_images(x).features(extractor) for x in turned)])

    return _space(sets, variants, plain)


def _pixel_space(sets: dict[str, ImageSet]) -> tuple[Space, float]:
    def variants(name: str, rows: list[int] | None) -> Tensor:
        return pixel_descriptors(_rows(sets[name], rows).floats(), moved=True)

    return _space(sets, variants, {name: pixel_descriptors(images.floats()) for name, images in sets.items()})


def _space(
    sets: dict[str, ImageSet], variants: Callable[[str, list[int] | None], Tensor], plain: dict[str, Tensor]
) -> tuple[Space, float]:
    """Distances, and the p-value that training photographs and those held out are alike in this space."""
    space = make_space(variants, plain, _excluded(sets), sets["holdout"].groups)
    return space, kernel_permutation_p_value(plain["train"], plain["holdout"])
