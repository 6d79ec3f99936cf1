"""The crops of retina_lesion_painter's card: lesions taken away, drawn again, and painted on a healthy eye.

Run: python tests/benchmarks/painter_crops.py --datalist masks/datalist.json --out crops.png
The datalist is what `segment --keep-annotated --follow-grades` wrote. For each lesion the annotated validation
photograph that shows most of it in 64 px, none twice. Columns: photograph, lesions taken away, drawn again from their
masks; the same place of a healthy photograph, and these lesions painted on it. All is painted in windows of 256 px.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from judge_painting import Eye, annotated, load_eye, painted
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from monai_retina_gen.data import load_datalist
from monai_retina_gen.generators import load_generator
from monai_retina_gen.networks import PAINTED_LESIONS

WINDOW, CROP = 256, 64


def main() -> None:
    """Draw and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    items = load_datalist(args.datalist)["validation"]
    sick = [load_eye(item) for item in items if "ma" in item and annotated(item)]
    healthy = [item for item in items if item.get("grade") == 0 and "od" in item]
    painter, rows, left = load_generator("retina_lesion_painter").painter, [], list(range(len(sick)))
    for seed, name in enumerate(("se", "ex", "he", "ma")):
        number, corner = densest([sick[i] for i in left], name)
        eye = window(sick[left.pop(number)], corner)
        rows += row(painter, eye, window(load_eye(healthy[seed]), corner), seed)
    to_pil_image(make_grid(rows, nrow=5, padding=4, pad_value=1)).save(args.out)


def densest(eyes: Sequence[Eye], name: str) -> tuple[int, tuple[int, int]]:
    """Which eye shows most of a lesion in a crop, and the corner of the window around it."""
    shares = torch.cat([avg_pool2d(masks[name], CROP + 1, 1, CROP // 2) for _, masks in eyes])
    half = WINDOW // 2
    inner = shares[:, 0, half : 1 - half, half : 1 - half]
    number, top, left = (int(each) for each in torch.unravel_index(inner.argmax(), inner.shape))
    return number, (top, left)


def window(eye: Eye, corner: tuple[int, int]) -> Eye:
    """A part of an eye."""
    top, left = corner
    image, masks = eye

    def cut(planes: Tensor) -> Tensor:
        return planes[:, :, top : top + WINDOW, left : left + WINDOW]

    return cut(image), {key: cut(mask) for key, mask in masks.items()}


def row(painter: Any, sick: Eye, healthy: Eye, seed: int) -> list[Tensor]:
    lesions = {key: sick[1][key] for key in PAINTED_LESIONS}
    none = {key: torch.zeros_like(mask) for key, mask in lesions.items()}
    removed = painted(painter, sick, none, 2, seed)
    redrawn = painted(painter, (removed, {**sick[1], **none}), lesions, 2, seed)
    added = painted(painter, healthy, lesions, 2, seed)
    start = (WINDOW - CROP) // 2
    crops = [
        each[:, :, start : start + CROP, start : start + CROP]
        for each in (sick[0], removed, redrawn, healthy[0], added)
    ]
    return [interpolate(crop, scale_factor=3, mode="bicubic").clamp(0, 1)[0] for crop in crops]


if __name__ == "__main__":
    main()
