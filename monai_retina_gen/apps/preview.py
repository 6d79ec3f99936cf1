"""`preview`: what a pipeline of transforms does to one's own photographs, before and after, in one picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from monai.utils import set_determinism
from torch import Tensor

import monai_retina_gen.transforms  # noqa: F401  # so that the short names of our transforms resolve in the file
from monai_retina_gen.data import SECTIONS, Item, load_datalist, write_image
from monai_retina_gen.errors import DatalistError, ImageValueError
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd

__all__ = ["add_parser", "preview"]

EXAMPLE = """example:
  python -m monai_retina_gen preview --datalist my.json --transforms transforms.json --out grid.png

transforms.json, a list of transforms as in a bundle's configuration:
  [{"_target_": "LoadFundusd", "keys": "image"},
   {"_target_": "CropToFieldOfViewd", "keys": "image", "size": 128},
   {"_target_": "GenerativeAugmentd", "keys": "image", "label_key": "grade", "generator": "retina_vae", "prob": 0.5}]"""


def preview(
    items: list[Item], transforms: Compose, *, size: int = 192, draws: int = 3, image_key: str = "image"
) -> Tensor:
    """One row a photograph: as it is, then `draws` times through the transforms.

    Args:
        items: datalist items.
        transforms: the pipeline under test, from the item's path to an image `(3, H, W)` in [0, 1].
        size: side of a picture in pixels.
        draws: repetitions; random transforms differ between them.
        image_key: key of the image.

    Returns:
        `(3, rows * size, (1 + draws) * size)`.

    Raises:
        ImageValueError: if the pipeline does not end in such an image.
    """
    plain = Compose([LoadFundusd(keys=image_key), CropToFieldOfViewd(keys=image_key)])
    pictures = []
    for item in items:
        pictures.append(_picture(plain(dict(item))[image_key], size))
        pictures += [_picture(transforms(dict(item))[image_key], size) for _ in range(draws)]
    return image_grid(torch.stack(pictures), 1 + draws)


def _picture(image: Any, size: int) -> Tensor:
    image = torch.as_tensor(image).as_subclass(torch.Tensor).float()
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageValueError(f"the transforms end in an image of shape {tuple(image.shape)}; preview needs (3, H, W)")
    low, high = float(image.min()), float(image.max())
    if low < -0.01 or high > 1.01:
        raise ImageValueError(
            f"the transforms end in values [{low:.3g}, {high:.3g}]; preview needs [0, 1]: leave out the normalisation"
        )
    resized = torch.nn.functional.interpolate(image[None], (size, size), mode="bilinear", antialias=True)
    return resized[0].clamp(0, 1)


def read_transforms(path: str) -> Compose:
    """A `Compose` from a JSON file: a list of transforms, or a dictionary with the key `transforms`.

    The file is configuration that runs code, as every MONAI configuration does: use your own.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"--transforms {path}: {error}") from error
    listed = content if isinstance(content, list) else content.get("transforms")
    if not isinstance(listed, list):
        raise ValueError(f"--transforms {path}: want a list of transforms, or a dictionary with `transforms`")
    built = ConfigParser({"transforms": listed}).get_parsed_content("transforms")
    return Compose(built)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "preview",
        description="Draws photographs before and after a pipeline of transforms (JSON, as in a bundle).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLE,
    )
    parser.add_argument("--datalist", required=True, help="datalist, data set name or folder")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--transforms", required=True, help="JSON file with the transforms; runs code, so use your own")
    parser.add_argument("--out", required=True, help="picture to write")
    parser.add_argument("--count", type=int, default=6, help="photographs")
    parser.add_argument("--draws", type=int, default=3, help="times each goes through the transforms")
    parser.add_argument("--size", type=int, default=192, help="side of a picture in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the picture."""
    datalist = load_datalist(args.datalist, args.dataset_dir, require_grade=True)
    items: list[Item] = next((datalist[section] for section in SECTIONS if datalist[section]), [])
    if not items:
        raise DatalistError(f"{args.datalist} holds no graded photograph")
    step = max(1, len(items) // args.count)
    set_determinism(args.seed)
    transforms = read_transforms(args.transforms).set_random_state(args.seed)
    write_image(args.out, preview(items[::step][: args.count], transforms, size=args.size, draws=args.draws))
    print(f"wrote {args.out}: left column the photographs, then {args.draws} draws each")
    return 0
