"""Checks of images and of pairs of images."""

from __future__ import annotations

from torch import Tensor

from monai_retina_gen.errors import ImageValueError


def check_images(name: str, images: Tensor) -> Tensor:
    """The images as they came, or an error that names the argument.

    Raises:
        monai_retina_gen.errors.ImageValueError: unless `images` is (B, C, H, W), floating, within [0, 1].
    """
    if images.ndim != 4 or images.numel() == 0 or not images.is_floating_point():
        raise ImageValueError(
            f"{name} is {images.dtype} of shape {tuple(images.shape)}: pass float images (B, C, H, W)"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise ImageValueError(f"{name} has values in [{low:.4g}, {high:.4g}]: pass images in [0, 1]")
    return images


def check_image_pair(preds: Tensor, target: Tensor) -> None:
    """`check_images` of both, and of their equal shape."""
    check_images("preds", preds)
    check_images("target", target)
    if preds.shape != target.shape:
        raise ImageValueError(
            f"preds has shape {tuple(preds.shape)} and target {tuple(target.shape)}: pass images in pairs"
        )
