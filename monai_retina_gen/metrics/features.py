"""Features of real and generated images: the checks, and the Ignite base that collects them over an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.metrics.metric import reinit__is_reduced
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from monai_retina_gen.metrics.base import FundusMetric, OutputTransform

__all__ = ["FeatureExtractor", "FeatureMetric", "check_features", "extract_features"]

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


class FeatureMetric(FundusMetric):
    """Collects features of generated (`y_pred`) and real (`y`) images over an epoch; subclasses compare them.

    Args:
        feature_extractor: network or function from (B, C, H, W) images in [0, 1] to (B, d) features; a
            network runs in evaluation mode. Move it to the device of the images.
        output_transform: see `ignite.metrics.Metric`; must give `(y_pred, y)`, generated and real images. The
            two batches need not be equal in number.
        device: where the features are kept.

    Raises:
        ValueError: in `update`, if the extractor does not give (B, d).
        ignite.exceptions.NotComputableError: in `compute`, before any update.
    """

    def __init__(
        self,
        *,
        feature_extractor: FeatureExtractor,
        output_transform: OutputTransform = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.feature_extractor = feature_extractor
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget all features."""
        self._generated: list[Tensor] = []
        self._real: list[Tensor] = []

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        """Take the features of one batch of `(generated, real)` images."""
        for images, store in zip(self._plain(output), (self._generated, self._real), strict=True):
            store.append(extract_features(images, self.feature_extractor).to(self._device))

    def compute(self) -> Any:
        """The figure of all batches of all processes (the same on every process)."""
        real, generated = self._gather(self._real), self._gather(self._generated)
        return self._from_features(real, generated)

    @abstractmethod
    def _from_features(self, real: Tensor, generated: Tensor) -> Any:
        """Figure of all features, (n, d) and (m, d)."""
