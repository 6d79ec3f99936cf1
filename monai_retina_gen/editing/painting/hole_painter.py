"""The painter that sees the photograph: holes around what changes are filled by `LesionPainter`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from monai_retina_gen.networks import (
    PAINTED_LESIONS,
    LesionPainter,
    dilated,
    feathered,
    latents_from_seeds,
    paintable,
    uncovered,
)

CHANGED = 0.2
"""Difference of two soft masks from which on a pixel is drawn anew."""


class HolePainter:
    """Erases what changes, with a margin, and lets the network fill the holes; adds lesions and takes them away.

    Args:
        network: the trained `LesionPainter`.
        margin: distance from a lesion that changes to the edge of its hole, in pixels.
        batch_size: photographs per forward pass.
    """

    reads_vessels = True

    def __init__(self, network: LesionPainter, *, margin: int = 8, batch_size: int = 8) -> None:
        self.network, self.margin, self.batch_size = network, margin, batch_size

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
        """See `Painter.draw`; `grades` are not read: the masks say what is wanted."""
        hole, shown = hole_around(own, wanted, margin=self.margin), own if nothing_new else wanted
        planes = [own["fov"], hole, uncovered(own.get("vessel", torch.zeros_like(hole)), own["he"])]
        canvas = torch.cat([photograph, *planes, *(shown[name] for name in PAINTED_LESIONS)], dim=1)
        noise = latents_from_seeds(seeds, 1, *hole.shape[2:]).to(canvas)
        parts = zip(canvas.split(self.batch_size), noise.split(self.batch_size), strict=True)
        drawn = torch.cat([self._fill(part, grain) for part, grain in parts])
        return drawn, feathered(hole, self.network.feather)

    def _fill(self, canvas: Tensor, noise: Tensor) -> Tensor:
        """At any size: up to a multiple of the stride there is black, as around an eye."""
        height, width = canvas.shape[2:]
        below, right = -height % self.network.stride, -width % self.network.stride
        device = next(self.network.parameters()).device
        planes = (pad(x, [0, right, 0, below]).to(device) for x in (canvas, noise))
        drawn: Tensor = (self.network(*planes) + 1) / 2
        return drawn[:, :, :height, :width].to(canvas)


def hole_around(own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, margin: int) -> Tensor:
    """Where photographs are drawn anew, `(B, 1, H, W)`, 0 or 1: around lesions that come, go or change.

    Examples:
        >>> full, spot = torch.ones(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
        >>> spot[..., 32, 32] = 1
        >>> int(hole_around({"fov": full, "ex": spot, "he": spot}, {"ex": spot * 0, "he": spot}, margin=1).sum())
        9
    """
    change = torch.cat([(wanted[name] - own[name]).abs() for name in wanted], dim=1).amax(1, keepdim=True)
    return dilated((change > CHANGED).to(change.dtype), margin) * paintable(own["fov"], own.get("od"))
