"""Batches of eyes in two versions each, for training a StyleGAN3 together with its encoders."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["PrepareVersionsBatch"]


class PrepareVersionsBatch(PrepareBatch):
    """Two versions of each eye, drawn at random: real images, and what `StyleAutoencoder` makes them of.

    Both are mirrored, turned and enlarged alike. What is drawn depends on the random state of the device alone.

    Args:
        photographs: rows of a batch that are reconstructed.
        original: share of draws that are the first version in any case, the photograph itself.
        mirror: share of eyes that are mirrored: a left eye is a right one in the mirror.
        turned: share of eyes that are turned and enlarged.
        degrees: largest angle.
        zoom: largest change of size.

    Returns:
        `(real (B, 3, S, S) in [-1, 1], {"grade": (B,), "photograph": (N, 3, S, S), "eye": (N, 3, S, S)})`: the first
        version of all, and the second of the first N under `eye`.

    Examples:
        >>> batch = {"versions": torch.zeros(3, 4, 3, 8, 8, dtype=torch.uint8), "grades": torch.zeros(3, 4).long()}
        >>> real, condition = PrepareVersionsBatch(photographs=2)(batch, "cpu")
        >>> real.shape, condition["eye"].shape, condition["grade"].shape
        (torch.Size([3, 3, 8, 8]), torch.Size([2, 3, 8, 8]), torch.Size([3]))
    """

    def __init__(
        self,
        *,
        photographs: int,
        original: float = 0.4,
        mirror: float = 0.5,
        turned: float = 0.5,
        degrees: float = 10.0,
        zoom: float = 0.04,
    ) -> None:
        self.photographs, self.original, self.mirror = photographs, original, mirror
        self.turned, self.degrees, self.zoom = turned, degrees, zoom

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        stacks, grades = (
            _plain(batchdata[key]).to(device=device, non_blocking=non_blocking) for key in ("versions", "grades")
        )
        rows, count = torch.arange(len(stacks), device=stacks.device), stacks.shape[1]
        chosen = torch.randint(0, count, (2, len(stacks)), device=stacks.device)
        chosen = chosen.masked_fill(torch.rand(chosen.shape, device=stacks.device) < self.original, 0)
        views = torch.cat([stacks[rows, each] for each in chosen], dim=1).float() / 255
        first, second = self._moved(views).mul(2).sub(1).chunk(2, dim=1)
        few = slice(self.photographs)
        return first, {"grade": grades[rows, chosen[0]].long(), "photograph": first[few], "eye": second[few]}

    def _moved(self, images: Tensor) -> Tensor:
        """Mirrored, turned and enlarged; black comes from outside, and what is not turned stays sharp."""
        draw = torch.rand(4, len(images), device=images.device)
        on = (draw[0] < self.turned).float()
        angle = (draw[1] * 2 - 1) * on * math.radians(self.degrees)
        scale = 1 + (draw[2] * 2 - 1) * on * self.zoom
        flip = torch.where(draw[3] < self.mirror, -1.0, 1.0)
        zero = torch.zeros_like(angle)
        rows = [angle.cos() * scale * flip, -angle.sin() * scale, zero, angle.sin() * scale * flip]
        matrix = torch.stack([*rows, angle.cos() * scale, zero], dim=1).view(-1, 2, 3)
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, mode="bicubic", align_corners=False).clamp(0, 1)


def _plain(value: Any) -> Tensor:
    return value.as_tensor() if isinstance(value, MetaTensor) else torch.as_tensor(value)
