"""Whether a segmenter finds painted lesions as it finds real ones, and no longer finds those that were taken away.

Run: python tests/benchmarks/segment_paintings.py --datalist masks/datalist.json
The datalist is what `segment --keep-annotated --follow-grades` wrote; its validation photographs are used, no others.

The lesions of each annotated photograph are taken away, and painted at the same places on a healthy photograph. Pieces
found: of all that were asked for, those that what is found touches. Dice: summed over photographs, in what was asked
for and what is found; `new` leaves out what was found on the healthy photograph before. Contrast: mean of the green
channel in a piece as a share of its ring's, averaged over pieces; real ones of the same photographs beside. The
segmenter works without flips. By default it is the one that finds own masks, which is no stranger: it found masks for
the painter's training. `--segmenter` takes another bundle's folder, of a network that was in no training here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from judge_painting import annotated, load_eye, painted
from torch import Tensor

from monai_retina_gen.data import load_datalist
from monai_retina_gen.data.bank_building import piece_contrast
from monai_retina_gen.generators import load_generator
from monai_retina_gen.generators.bundle_parts import BundleMasks
from monai_retina_gen.networks import PAINTED_LESIONS, paintable

Masks = Mapping[str, Tensor]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", required=True)
    parser.add_argument("--painter", default="retina_lesion_painter")
    parser.add_argument("--segmenter", default="retina_lesion_segmentation", help="bundle, or its folder")
    parser.add_argument("--out", help="JSON file for the figures, by lesion, with what they are means over")
    args = parser.parse_args()
    items = load_datalist(args.datalist)["validation"]
    sick = [item for item in items if "ma" in item and annotated(item)]
    healthy = [item for item in items if item.get("grade") == 0 and "od" in item][: len(sick)]
    painter, find = load_generator(args.painter).painter, BundleMasks(args.segmenter)
    table: dict[str, dict[str, list[float]]] = {}
    for seed, (one, other) in enumerate(zip(sick, healthy, strict=True)):
        (image, own), (canvas, anatomy) = load_eye(one), load_eye(other)
        there = {name: own[name] * paintable(own["fov"], own["od"]) for name in PAINTED_LESIONS}
        asked = {name: own[name] * paintable(anatomy["fov"], anatomy["od"]) for name in PAINTED_LESIONS}
        removed = painted(painter, (image, own), dict.fromkeys(PAINTED_LESIONS, own["ma"] * 0), 2, seed)
        made = painted(painter, (canvas, anatomy), asked, 2, seed)
        found = {key: find(each) for key, each in (("real", image), ("removed", removed), ("before", canvas))}
        found["painted"] = find(made)
        for name in PAINTED_LESIONS:
            if there[name].amax() > 0.5:
                compare(table, name, there, asked, found, image, made, canvas)
    report(table, len(sick))
    if args.out:
        Path(args.out).write_text(json.dumps(figures(table), indent=1), encoding="utf-8")


def compare(
    table: dict[str, dict[str, list[float]]],
    name: str,
    there: Masks,
    asked: Masks,
    found: Mapping[str, Masks],
    image: Tensor,
    made: Tensor,
    canvas: Tensor,
) -> None:
    """Add what one pair of photographs says about a lesion."""
    real, wanted = there[name] >= 0.5, asked[name] >= 0.5
    seen = {key: masks[name] >= 0.5 for key, masks in found.items()}
    pieces, wanted_pieces = touched(real, seen["real"]), touched(wanted, seen["painted"])
    rows = {
        "pieces found in photographs": [float(len(pieces)), float(pieces.sum())],
        "pieces found where painted": [float(len(wanted_pieces)), float(wanted_pieces.sum())],
        "gone once taken away": [
            float(pieces.sum()),
            float((pieces & ~touched(real, seen["removed"])).sum()),
        ],
        "Dice in photographs": overlap(real, seen["real"]),
        "Dice painted": overlap(wanted, seen["painted"]),
        "Dice painted and new": overlap(wanted, seen["painted"] & ~seen["before"]),
        "contrast in photographs": contrast(image, real, there),
        "contrast painted": contrast(made, wanted, asked),
        "green where painted": [float(wanted.sum()), float(((made - canvas)[:, 1:2] * wanted).sum())],
    }
    for label, (weight, value) in rows.items():
        sums = table.setdefault(label, {}).setdefault(name, [0.0, 0.0])
        sums[0], sums[1] = sums[0] + weight, sums[1] + value


def touched(mask: Tensor, found: Tensor) -> Tensor:
    """Of each piece of a mask, whether what is found touches it."""
    labels, _ = piece_contrast(torch.zeros(1, 3, *mask.shape[2:]), mask, mask)
    pieces = torch.arange(1, int(labels.max()) + 1)
    return torch.isin(pieces, labels[found])


def overlap(mask: Tensor, found: Tensor) -> list[float]:
    return [float(mask.sum() + found.sum()), 2 * float((mask & found).sum())]


def contrast(image: Tensor, mask: Tensor, lesions: Masks) -> list[float]:
    everything = torch.stack([each >= 0.5 for each in lesions.values()]).any(0)
    values = piece_contrast(image, mask, everything)[1][1:]
    return [float(len(values)), float(values.sum())]


def figures(table: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means by what they say and lesion, with the sum of weights: pieces, or pixels of both masks."""
    return {
        label.lower().replace(" ", "_"): {
            name: {"n": weight, "value": value / max(weight, 1e-6)} for name, (weight, value) in row.items()
        }
        for label, row in table.items()
    }


def report(table: Mapping[str, Mapping[str, list[float]]], count: int) -> None:
    print(f"{count} annotated and as many healthy validation photographs")
    for label, row in figures(table).items():
        cells = [f"{name} {v['value']:+.3f} ({v['n']:.0f})" for name, v in row.items()]
        print(f"    {label}: {', '.join(cells)}")


if __name__ == "__main__":
    main()
