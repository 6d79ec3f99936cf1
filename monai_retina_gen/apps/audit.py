"""`audit`: whether a generator gives back photographs that it was trained on.

An audit can find copies; it cannot prove that there are none, and it is no measure of anonymity.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.apps.audit_cells import data_copying_figures
from monai_retina_gen.apps.audit_rule import dealt_anew, ratio_tests
from monai_retina_gen.apps.audit_verdict import LIMITS, RULE, audit_verdict, closest_pairs
from monai_retina_gen.apps.copying import Space, copying_figures, make_space, same_source
from monai_retina_gen.apps.extractor import Extractor, load_extractor
from monai_retina_gen.apps.image_sets import (
    ImageSet,
    expanded_images,
    photographs,
    read_section,
    sampled_images,
    spread,
)
from monai_retina_gen.apps.pictures import rows_of
from monai_retina_gen.apps.pixel_descriptor import flipped, pixel_descriptors
from monai_retina_gen.data import icdr_grade, write_image, write_json
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.generators import load_generator
from monai_retina_gen.metrics import kernel_permutation_p_value

__all__ = ["add_parser", "audit", "run"]

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
    for name, (space, alike) in (("features", _feature_space(sets, extractor)), ("pixels", _pixel_space(sets))):
        found = {"data_copying": data_copying_figures(space), "tests": ratio_tests(space, labels), "alike": alike}
        result["spaces"][name] = copying_figures(space) | found
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


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "audit",
        description="Nearest neighbours in feature and pixel space, with flips and shifts, beside a hold-out.",
        epilog="example: python -m monai_retina_gen audit --generator retina_vae --train idrid.json --holdout "
        "idrid.json:test --out audit",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--generator", help="bundle name or folder; its samples are audited")
    source.add_argument("--images", metavar="DIR", help="folder made by `expand`, audited instead")
    parser.add_argument("--train", required=True, help="DATALIST[:SECTION] that it was trained on (section: training)")
    parser.add_argument("--holdout", help="DATALIST[:SECTION] that it has not seen (default: that of --train, test)")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=200, help="samples, with the training grades (default 200)")
    parser.add_argument("--extractor", default="fundus", help="fundus, pixels, inception, or a grader's bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit and print the verdict."""
    train_items = read_section(args.train, args.dataset_dir, default="training")
    holdout_items = read_section(args.holdout or args.train.removesuffix(":training"), args.dataset_dir, default="test")
    if args.images:
        generated = expanded_images(args.images)
    else:
        grades = [icdr_grade(train_items[i]) for i in spread(len(train_items), args.count)]
        grades = [grades[i % len(grades)] for i in range(args.count)]
        generated = sampled_images(load_generator(args.generator, device=args.device), grades, seed=args.seed)
    train, holdout = (
        photographs(items, generated.size, what)
        for items, what in ((train_items, "training"), (holdout_items, "hold-out"))
    )
    extractor = load_extractor(args.extractor, device=args.device)
    result = audit(generated, train, holdout, extractor=extractor, out=args.out)
    print("\n".join(result["verdict"]["sentences"]))
    print(f"wrote {Path(args.out) / AUDIT_FILE}")
    return 0
