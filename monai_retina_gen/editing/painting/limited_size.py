"""Painting at the size that a painter knows, brought to larger photographs as a ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.editing.painting.paint import Painter
from monai_retina_gen.editing.painting.ratio_painter import FLOOR, ratio_blend
from monai_retina_gen.networks.resizing import resized


class LimitedSize:
    """A painter that draws photographs up to a side as they are, and larger ones, which are square, at that side.

    What it changed there is brought up as the logarithm of the ratio of colours: the photograph's own detail stays.
    """

    def __init__(self, painter: Painter, *, side: int = 512) -> None:
        self.painter, self.side, self.reads_vessels = painter, side, painter.reads_vessels

    @torch.no_grad()
    def draw(
        self,
        photograph: Tensor,
        own: Mapping[str, Tensor],
        wanted: Mapping[str, Tensor],
        *,
        seeds: Sequence[int],
        grades: Tensor | None = None,
        nothing_new: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """See `Painter.draw`."""
        options: dict[str, Any] = {"seeds": seeds, "grades": grades, "nothing_new": nothing_new}
        if max(photograph.shape[2:]) <= self.side:
            return self.painter.draw(photograph, own, wanted, **options)
        small = resized(photograph, self.side).clamp(0, 1)
        masks = [{name: resized(mask, self.side).clamp(0, 1) for name, mask in each.items()} for each in (own, wanted)]
        drawn, change = self.painter.draw(small, *masks, **options)
        ratio = torch.log((drawn.clamp(0, 1) + FLOOR) / (small + FLOOR)).masked_fill(change == 0, 0)
        size = photograph.shape[2:]
        ratio, change = (interpolate(x, size, mode="bilinear", align_corners=False) for x in (ratio, change))
        change = change.masked_fill(own["fov"] < 0.5, 0)  # its soft edge
        return ratio_blend(photograph, ratio, (change > 0).to(change)), change
