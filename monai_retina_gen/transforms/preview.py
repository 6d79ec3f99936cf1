"""What a pipeline of transforms does to photographs, before and after, in one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import Tensor

import monai_retina_gen.transforms  # noqa: F401  # so that the short names of our transforms resolve in the file
from monai_retina_gen.data import Item
from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd


def preview(
    items: list[Item], transforms: Compose, *, size: int = 192, draws: int = 3, image_key: str = "image"
) -> Tensor:
    """One row a photograph `(3, rows * size, (1 + draws) * size)`: as it is, then `draws` times through the transforms.

    `ImageValueError` if the pipeline does not end in an image `(3, H, W)` in [0, 1].
    """
    plain = Compose([LoadFundusd(keys=image_key), CropToFieldOfViewd(keys=image_key)])
    pictures = []
    for item in items:
        pictures.append(_picture(plain(dict(item))[image_key], size))
        pictures += [_picture(transforms(dict(item))[image_key], size) for _ in range(draws)]
    return image_grid(torch.stack(pictures), 1 + draws)


def _picture(image: Any, size: int) -> Tensor:
    image = plain_tensor(image).float()
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
    try:
        return Compose(ConfigParser({"transforms": listed}).get_parsed_content("transforms"))
    except Exception as error:  # whatever a transform says of its arguments
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"--transforms {path}: {cause}") from error
