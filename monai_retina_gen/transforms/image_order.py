"""What every transform of this package checks about an image: the order of its axes, its values, and the file it is of.

MONAI's `LoadImage` returns PNG and JPEG as (C, W, H) and says so nowhere; torchvision and `LoadFundus` return (C, H,
W). A network would see an eye transposed, so the order is stated, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from monai_retina_gen.errors import ImageValueError

IMAGE_ORDERS = ("CHW", "CWH")
_ROUNDING = 1e-4  # interpolation of ones gives 1.0000001


def file_of(image: Any) -> str:
    """Path that the image was read from, by its metadata; empty where they are silent."""
    name = getattr(image, "meta", {}).get("filename_or_obj", "")
    return name if isinstance(name, str) else ""


@contextmanager
def naming_file(image: Any) -> Iterator[None]:
    """Put the file of the image before the text of an `ImageValueError`."""
    try:
        yield
    except ImageValueError as error:
        name = file_of(image)
        if not name or name in str(error):
            raise
        raise ImageValueError(f"{name}: {error}") from error


def resolve_image_order(image: Any, image_order: str | None = None) -> str:
    """Order of an image's axes, `"CHW"` or `"CWH"`: as the argument says, or as the metadata of a `MetaTensor` says.

    `ImageValueError` for an unknown order, an argument that contradicts the metadata, or where both are silent.
    """
    if image_order is not None and image_order not in IMAGE_ORDERS:
        raise ImageValueError(f'image_order: {image_order!r} came, wanted "CHW", "CWH" or None')
    stated = _order_from_meta(image)
    if stated is None and image_order is None:
        raise ImageValueError(
            "image_order: the image does not say how its axes are ordered. Load it with LoadFundus[d], or "
            'pass image_order="CWH" after MONAI\'s LoadImage[d] with its defaults (it returns PNG and JPEG '
            'transposed), or image_order="CHW" after torchvision or LoadImage[d](reverse_indexing=False), and after '
            "LoadFundus[d] in a PersistentDataset, which drops the metadata"
        )
    if stated is not None and image_order is not None and stated != image_order:
        raise ImageValueError(
            f'image_order: "{image_order}" came, but meta["image_order"] says "{stated}"; leave image_order at None'
        )
    return str(image_order or stated)


def turned(image: torch.Tensor, order: str) -> torch.Tensor:
    """From the given order of the axes to (C, H, W), and back."""
    return image.transpose(-1, -2) if order == "CWH" else image


def _order_from_meta(image: Any) -> str | None:
    stated = getattr(image, "meta", {}).get("image_order")
    if isinstance(stated, (list, tuple)):  # a collated batch
        if len(set(stated)) > 1:
            raise ImageValueError(f'image_order: the batch mixes orders {sorted(set(stated))} in meta["image_order"]')
        stated = stated[0] if stated else None
    if stated is not None and stated not in IMAGE_ORDERS:
        raise ImageValueError(f'meta["image_order"]: {stated!r} came, wanted "CHW" or "CWH"')
    return stated


def check_image(image: Any, name: str = "image") -> torch.Tensor:
    """An image (3, H, W) or (B, 3, H, W) as a tensor, unchanged, once it is seen to follow the package's convention.

    Floating point, finite and in [0, 1], but for 1e-4 of interpolation rounding; else `ImageValueError` says what came
    and which transform mends it.
    """
    if not isinstance(image, (torch.Tensor, np.ndarray)):
        raise ImageValueError(f"{name}: {type(image).__name__} came, wanted a tensor; load the file with LoadFundus[d]")
    tensor = torch.as_tensor(image) if isinstance(image, np.ndarray) else image
    _check_layout(tensor, name)
    _check_values(tensor, name)
    return tensor


def _check_layout(image: torch.Tensor, name: str) -> None:
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or 0 in image.shape:
        raise ImageValueError(
            f"{name}: shape {tuple(image.shape)} came, wanted (3, H, W) or (B, 3, H, W) in RGB; LoadFundus[d] "
            "makes grey and palette files RGB, EnsureChannelFirst[d] moves the channels to the front"
        )
    if not image.is_floating_point():
        raise ImageValueError(
            f"{name}: {image.dtype} came, wanted floating point in [0, 1]; "
            "ScaleIntensityRange[d](a_min=0, a_max=255, b_min=0, b_max=1) converts 8-bit images"
        )


def _check_values(image: torch.Tensor, name: str) -> None:
    low, high = torch.stack(image.detach().aminmax()).tolist()  # one wait for a GPU, not two
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageValueError(f"{name}: NaN or infinite values came, wanted [0, 1]; find the transform that makes them")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ImageValueError(
            f"{name}: values from {low:g} to {high:g} came, wanted [0, 1]; "
            "ScaleIntensityRange[d](a_min=0, a_max=255, b_min=0, b_max=1) converts 8-bit images, "
            "normalisation by mean and standard deviation belongs after this transform"
        )
