"""Figures of pairs of images: the checks, and the Ignite base of their mean over an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics.base import FundusMetric, OutputTransform

__all__ = ["PairMetric", "check_image_pair", "check_images"]


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


class PairMetric(FundusMetric):
    """Mean over all pairs `(y_pred, y)` of images; subclasses give the figure of each pair.

    Args:
        output_transform: see `ignite.metrics.Metric`; must give `(y_pred, y)`, (B, C, H, W) images in [0, 1].
        device: where the sum is kept.

    Raises:
        ignite.exceptions.NotComputableError: in `compute`, before any update.
    """

    _state_dict_all_req_keys = ("_sum", "_count")

    def __init__(
        self,
        *,
        output_transform: OutputTransform = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget all pairs."""
        self._sum = torch.zeros((), dtype=torch.float64, device=self._device)
        self._count = 0

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        """Add one batch of pairs."""
        values = self._per_pair(*self._plain(output))
        self._sum += values.double().sum().to(self._device)
        self._count += len(values)

    @sync_all_reduce("_sum", "_count")
    def compute(self) -> float:
        """Mean over all pairs (of all processes)."""
        if self._count == 0:
            raise NotComputableError(f"{type(self).__name__} has seen no images: run an epoch before compute()")
        return float(self._sum / self._count)

    @abstractmethod
    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        """Figures of image pairs, (B,)."""
