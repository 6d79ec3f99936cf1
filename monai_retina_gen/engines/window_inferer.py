"""Segmentation of whole photographs: windows, test-time flips and mixed precision in one inferer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from monai_retina_gen.networks.mixed_precision import bfloat16_autocast

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


class FlippedWindowInferer(SlidingWindowInferer):
    """Mean probabilities over flips, each by sliding windows that overlap with Gaussian weights.

    Args:
        window: side of the windows in pixels; a smaller image is one window.
        overlap: share of a window that neighbours have in common.
        flips: average over the four flips of the image; `False` takes the image as it is, in a quarter of the time.
        amp: bfloat16 autocast.
        stride: windows' sides are rounded up to multiples of it, as the network's resolutions ask.

    Returns:
        Probabilities (sigmoid of the network's logits), float32, of the size of the inputs.

    Examples:
        >>> inferer = FlippedWindowInferer(window=32)
        >>> inferer(torch.zeros(1, 3, 40, 24), lambda image: image[:, :1]).shape
        torch.Size([1, 1, 40, 24])
    """

    def __init__(
        self, *, window: int = 512, overlap: float = 0.25, flips: bool = True, amp: bool = False, stride: int = 32
    ) -> None:
        super().__init__(roi_size=(window, window), sw_batch_size=1, overlap=overlap, mode="gaussian")
        self.window, self.stride, self.amp = window, stride, amp
        self.flips = FLIPS if flips else FLIPS[:1]

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        sides = [min(self.window, -(-side // self.stride) * self.stride) for side in inputs.shape[-2:]]
        self.roi_size = tuple(sides)
        total = torch.zeros(())
        for axes in self.flips:
            with bfloat16_autocast(inputs.device.type, self.amp):
                logits = super().__call__(inputs.flip(axes) if axes else inputs, network, *args, **kwargs)
            seen = torch.sigmoid(torch.as_tensor(logits).float())
            total = total.to(seen) + (seen.flip(axes) if axes else seen)
        return total / len(self.flips)
