"""Checks of images and of their features, and taking the features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from monai_retina_gen.errors import ImageValueError

FeatureExtractor = nn.Module | Callable[[Tensor], Tensor]


def check_features(real: Tensor, generated: Tensor, minimum: int = 2) -> tuple[Tensor, Tensor]:
    """Both sets, (n, d) and (m, d), as float64, or a `ValueError` that says what is wrong with which."""
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or features.shape[1] == 0:
            raise ValueError(f"{name} has shape {tuple(features.shape)}: pass features of shape (n, d)")
        if len(features) < minimum:
            raise ValueError(f"{name} has n = {len(features)} features: this metric needs at least {minimum}")
        if not bool(torch.isfinite(features).all()):
            raise ValueError(f"{name} holds NaN or infinite features: check the images and the extractor")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"real has d = {real.shape[1]} and generated d = {generated.shape[1]}: use one extractor for both"
        )
    return real.detach().double(), generated.detach().double().to(real.device)


def extract_features(images: Tensor, feature_extractor: FeatureExtractor) -> Tensor:
    """(B, d) features of (B, C, H, W) images in [0, 1], in evaluation mode and without gradients."""
    with eval_mode(*([feature_extractor] if isinstance(feature_extractor, nn.Module) else [])):
        features = feature_extractor(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
        came = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"feature_extractor gave {came} for {len(images)} images: it must give (B, d) features")
    return features.detach()


def check_images(name: str, images: Tensor) -> Tensor:
    """The images as they came, or an `ImageValueError`: want (B, C, H, W), floating, within [0, 1]."""
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
