"""The picture of painting.md: a drawn eye, painted moderate and severe, and the masks of the last.

Run: python docs/painted_picture.py docs/pictures/painted.jpg

No photograph of a patient is in it: vessels and disc are a phantom's, `retina_drgan` draws the healthy eye (256 px,
enlarged to 512 and a little brightened, so that lesions show in print), and composed lesions of the grades 2 and 3 are
painted on it.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import to_pil_image

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.data.condition_map import draw_masks
from monai_retina_gen.generators import load_generator

SIDE = 512
BRIGHTENED = 0.85
"""Exponent for the drawn eye."""


def main() -> None:
    """Draw and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--eye", type=int, default=31, help="seed of the eye")
    parser.add_argument("--lesions", type=int, nargs=2, default=(3, 3), help="seeds of the lesions of each grade")
    parser.add_argument("--painter", default="retina_lesion_painter")
    parser.add_argument("--side", type=int, default=448, help="of each eye, in pixels")
    args = parser.parse_args()
    eye, anatomy = healthy_eye(args.eye)
    painter = load_generator(args.painter)
    row = {name: mask.expand(2, -1, -1, -1) for name, mask in anatomy.items()}
    made = painter.synthesize(row, [2, 3], seeds=args.lesions, canvas=eye.expand(2, -1, -1, -1))
    for record in made.records:
        print(record.grade, record.options.get("refused", "painted"))
    masks = draw_masks({name: mask[1:] for name, mask in made.masks.items()})
    sheet = [shrunk(picture, args.side) for picture in (eye, *made.image.split(1), masks)]
    rows = [torch.cat(sheet[start : start + 2], 3) for start in (0, 2)]
    to_pil_image(torch.cat(rows, 2)[0]).save(args.out, quality=88)


def healthy_eye(seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """A photograph of nobody `(1, 3, 512, 512)` and its anatomy."""
    masks = {key: phantom_fundus(seed, grade=0, size=SIDE).masks[key][None] for key in ("vessel", "od", "fov")}
    network = load_generator("retina_drgan")
    small = {key: shrunk(mask, network.image_size) for key, mask in masks.items()}
    drawn = network.synthesize(small, [0], seeds=[seed]).image
    image = interpolate(drawn, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
    return image**BRIGHTENED, masks


def shrunk(picture: Tensor, side: int) -> Tensor:
    """At another size."""
    return interpolate(picture, (side, side), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


if __name__ == "__main__":
    main()
