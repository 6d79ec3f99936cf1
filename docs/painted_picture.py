"""The picture of painting.md: a drawn eye, painted moderate and severe, and the masks of the last.

Run: python docs/painted_picture.py docs/pictures/painted.jpg

No photograph of a patient is in it: the healthy eye is `drawn_eye`, and composed lesions of the grades 2 and 3 are
painted on it.
"""

from __future__ import annotations

import argparse

import torch
from torchvision.transforms.functional import to_pil_image

from monai_retina_gen.data.condition_map import draw_masks
from monai_retina_gen.evidence.demo import EYE, LESIONS, drawn_eye
from monai_retina_gen.generators import load_generator
from monai_retina_gen.networks.inputs import resized


def main() -> None:
    """Draw and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--eye", type=int, default=EYE, help="seed of the eye")
    parser.add_argument(
        "--lesions", type=int, nargs=2, default=(LESIONS, LESIONS), help="seeds of the lesions of each grade"
    )
    parser.add_argument("--painter", default="retina_lesion_painter")
    parser.add_argument("--side", type=int, default=448, help="of each eye, in pixels")
    args = parser.parse_args()
    eye, anatomy = drawn_eye(args.eye)
    painter = load_generator(args.painter)
    row = {name: mask.expand(2, -1, -1, -1) for name, mask in anatomy.items()}
    made = painter.synthesize(row, [2, 3], seeds=args.lesions, canvas=eye.expand(2, -1, -1, -1))
    for record in made.records:
        print(record.grade, record.options.get("refused", "painted"))
    masks = draw_masks({name: mask[1:] for name, mask in made.masks.items()})
    sheet = [resized(picture, args.side) for picture in (eye, *made.image.split(1), masks)]
    rows = [torch.cat(sheet[start : start + 2], 3) for start in (0, 2)]
    to_pil_image(torch.cat(rows, 2)[0]).save(args.out, quality=88)


if __name__ == "__main__":
    main()
