"""Fidelity of reconstructions: PSNR and SSIM of each pair, by MONAI's metrics."""

from __future__ import annotations

from monai.metrics import PSNRMetric, SSIMMetric
from torch import Tensor

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics.image_pairs import PairMetric, check_image_pair

__all__ = ["ReconstructionPsnr", "ReconstructionSsim", "reconstruction_psnr", "reconstruction_ssim"]

WINDOW = 11


def reconstruction_psnr(preds: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB, for the range [0, 1].

    Args:
        preds: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].

    Returns:
        (B,); infinite for identical images.

    Raises:
        monai_retina_gen.errors.ImageValueError: for images of another kind or unequal shapes.

    Examples:
        >>> import torch
        >>> reconstruction_psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
        tensor([20.])
    """
    check_image_pair(preds, target)
    return PSNRMetric(max_val=1.0)(preds, target).reshape(len(preds))


def reconstruction_ssim(preds: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each pair (Gaussian window 11, sigma 1.5) over the whole image.

    Args:
        preds: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].

    Returns:
        (B,); 1 for identical images.

    Raises:
        monai_retina_gen.errors.ImageValueError: for images of another kind, unequal shapes, or under 11 pixels.

    Examples:
        >>> import torch
        >>> x = torch.rand(1, 3, 16, 16)
        >>> round(reconstruction_ssim(x, x).item(), 4)
        1.0
    """
    check_image_pair(preds, target)
    if min(preds.shape[-2:]) < WINDOW:
        raise ImageValueError(f"preds is {preds.shape[-2]} x {preds.shape[-1]}: SSIM's window needs {WINDOW} pixels")
    return SSIMMetric(spatial_dims=2, data_range=1.0, win_size=WINDOW)(preds, target).reshape(len(preds))


class ReconstructionPsnr(PairMetric):
    """Ignite metric of `reconstruction_psnr`: mean over all pairs. Arguments as in `PairMetric`."""

    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        return reconstruction_psnr(preds, target)


class ReconstructionSsim(PairMetric):
    """Ignite metric of `reconstruction_ssim`: mean over all pairs. Arguments as in `PairMetric`."""

    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        return reconstruction_ssim(preds, target)
