"""Absolute error with a weight for every pixel, carried along with the target."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["WeightedL1Loss"]


class WeightedL1Loss(nn.Module):
    """`mean(w * (|d| + square * d^2))` with d the difference of prediction and target.

    Few pixels matter most where lesions are to be learned: they get more weight. The absolute error ends in sharp
    images; the squared one moves what is far off first.

    Args:
        square: factor of the squared error.

    Shape:
        - preds: `(B, C, H, W)`.
        - target: `(B, C + 1, H, W)`, the last channel is the weight; or `(B, C, H, W)`, all weights 1.
        - output: a number.

    Raises:
        ValueError: for other shapes.

    Examples:
        >>> import torch
        >>> target = torch.cat([torch.zeros(1, 3, 2, 2), torch.full((1, 1, 2, 2), 2.0)], dim=1)
        >>> WeightedL1Loss()(torch.ones(1, 3, 2, 2), target)
        tensor(2.)
    """

    def __init__(self, *, square: float = 0.0) -> None:
        super().__init__()
        self.square = square

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        channels = preds.shape[1]
        if target.shape[1] - channels not in (0, 1) or target.shape[2:] != preds.shape[2:]:
            raise ValueError(
                f"target {tuple(target.shape)} does not fit preds {tuple(preds.shape)}: want as many channels, or "
                "one more with the weights"
            )
        difference = (preds - target[:, :channels]).abs()
        error = difference + self.square * difference.square()
        return (error * target[:, channels:]).mean() if target.shape[1] > channels else error.mean()
