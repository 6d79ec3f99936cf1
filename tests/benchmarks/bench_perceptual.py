"""How well perceptual distances order planted lesions: `python tests/benchmarks/bench_perceptual.py [--eyes 40]`.

Of every eye there are five images with more and more of a lesion, each with a harmless change of its own (exposure,
focus, noise: what a photograph of another day has too). A distance to the untouched eye that knows lesions grows with
them. Given are the share of pairs of images of one eye that are in the right order (0.5 is chance), and the area under
the ROC curve of "some or more" against "none" over all eyes.

- phantoms: the amount of one kind of lesion is a factor of the drawing, and nothing else changes;
- photographs: lesions of an annotated training photograph composited onto one of grade 0, a growing part of them
  (`MRG_DATA` with IDRiD). Nothing is trained here, and no test photograph is looked at.

`--distances` takes names of `load_perceptual`, `pixels`, and files of a detector that started from ImageNet:
`python -m monai.bundle run --config_file "['configs/train.json','configs/detect.json']" --backbone efficientnet_lite0
--width 1.0 --init_weights imagenet --image_size 160 --max_epochs 10` in `bundles/retina_grader`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_roc_auc
from scipy.ndimage import label
from torch import Tensor

from monai_retina_gen.data import icdr_grade, load_datalist
from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.data.phantom.smooth import FACTORS, draw_smooth_phantom
from monai_retina_gen.editing import harmless_change, transplant_lesions
from monai_retina_gen.evidence.grading.gate_calibration import load_with_lesions
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.networks import FundusGrader
from monai_retina_gen.weights import load_weights
from monai_retina_gen.weights.perceptual import load_perceptual

SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
Distance = Callable[[Tensor, Tensor], Tensor]


def phantoms(count: int, size: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name of the lesion, the eye without it, and the eye with `SHARES` of it."""
    random = np.random.default_rng(0)
    for number in range(count):
        lesion = LESIONS[number % len(LESIONS)]
        factors = dict.fromkeys(FACTORS, 0.0) | dict(zip(FACTORS[:5], random.uniform(-1, 1, 5), strict=True))
        drawn = [
            draw_smooth_phantom(list({**factors, lesion: share}.values()), size=size, scattered=True)[0]
            for share in SHARES
        ]
        images = torch.from_numpy(np.stack(drawn))
        yield lesion, images[0], images


def photographs(count: int, size: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """As `phantoms`: the lesions of an annotated photograph, from none to all of its connected pieces."""
    items = load_datalist("idrid", Path(os.environ.get("MRG_DATA", "data")) / "idrid", require_grade=True)["training"]
    healthy = [item for item in items if icdr_grade(item) == 0]
    kinds = [(item, kind) for item in items for kind in LESIONS if kind in item and icdr_grade(item) >= 2]
    random = np.random.default_rng(0)
    for number in random.permutation(len(kinds))[:count]:
        item, kind = kinds[number]
        source, mask = load_with_lesions({"image": item["image"], kind: item[kind]}, size)
        pieces, found = label(mask[0].numpy() > 0.5)
        if not found:
            continue
        order = random.permutation(found) + 1
        target, _ = load_with_lesions({"image": healthy[number % len(healthy)]["image"]}, size)
        parts = [torch.from_numpy(np.isin(pieces, order[: int(np.ceil(s * found))])).float()[None] for s in SHARES]
        yield kind, target, torch.stack([transplant_lesions(target, source, part) for part in parts])


def judged(distance: Distance, eyes: list[tuple[str, Tensor, Tensor]]) -> dict[str, float]:
    """Figures of one distance, and the seconds of a pair."""
    started = time.perf_counter()
    rows = torch.stack([_distances(distance, base, images, n) for n, (_, base, images) in enumerate(eyes)])
    seconds = (time.perf_counter() - started) / rows.numel()
    right = [rows[:, j] > rows[:, i] for i, j in combinations(range(len(SHARES)), 2)]
    truth = torch.tensor([0.0] + [1.0] * (len(SHARES) - 1)).expand_as(rows)
    return {
        "order": float(torch.stack(right).double().mean()),
        "auc": float(compute_roc_auc(rows.flatten(), truth.flatten())),
        "ms": 1000 * seconds,
    }


@torch.no_grad()
def _distances(distance: Distance, base: Tensor, images: Tensor, number: int) -> Tensor:
    changed = torch.stack([harmless_change(x, 10 * number + i) for i, x in enumerate(images)])
    return distance(changed, base.expand_as(changed)).double()


def main() -> None:
    """Print one row a distance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eyes", type=int, default=40)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--distances", nargs="+", default=["pixels", "retina_grader:dr_vgg16", "lite0"])
    args = parser.parse_args()
    sets = {"phantoms": list(phantoms(args.eyes, args.size)), "photographs": list(photographs(args.eyes, args.size))}
    print(f"| distance, {args.size} px | " + " | ".join(f"{s}: order | auc | ms" for s in sets) + " |")
    for name in args.distances:
        distance = _distance(name)
        cells = [judged(distance, eyes) for eyes in sets.values()]
        print(f"| {name} | " + " | ".join(f"{c['order']:.3f} | {c['auc']:.3f} | {c['ms']:.0f}" for c in cells) + " |")


def _distance(name: str) -> Distance:
    if name == "pixels":
        return _pixels
    if not Path(name).is_file():
        return load_perceptual(name)
    return LPIPSDR(network=load_weights(FundusGrader(backbone="efficientnet_lite0", num_classes=2), name))


def _pixels(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean((1, 2, 3))


if __name__ == "__main__":
    main()
