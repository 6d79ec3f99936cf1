"""Features of real and generated images: the checks, and taking them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.utils import eval_mode
from torch import Tensor, nn

FeatureExtractor = nn.Module | Callable[[Tensor], Tensor]


def check_features(real: Tensor, generated: Tensor, minimum: int = 2) -> tuple[Tensor, Tensor]:
    """Both sets as float64, or an error that says what is wrong with which.

    Args:
        real: (n, d) features of real images.
        generated: (m, d) features of generated images.
        minimum: smallest number of rows that the metric is defined for.

    Raises:
        ValueError: for another shape, fewer rows than `minimum`, NaN or infinite values, unequal d.
    """
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
    """(B, d) features of (B, C, H, W) images in [0, 1], in evaluation mode and without gradients.

    Raises:
        ValueError: if the extractor does not give one row of features an image.

    Examples:
        >>> extract_features(torch.rand(2, 3, 8, 8), nn.Flatten()).shape
        torch.Size([2, 192])
    """
    with eval_mode(*([feature_extractor] if isinstance(feature_extractor, nn.Module) else [])):
        features = feature_extractor(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
        came = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"feature_extractor gave {came} for {len(images)} images: it must give (B, d) features")
    return features.detach()
