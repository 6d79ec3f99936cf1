"""The painter that draws an eye twice, with and without the wanted lesions, and brings over what differs as a ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur

from monai_retina_gen.data.condition_map import condition_map
from monai_retina_gen.editing.painting.paint import Painter
from monai_retina_gen.networks import dilated
from monai_retina_gen.networks.inputs import resized

FLOOR = 0.03
"""Added to every colour, so that a ratio of dark ones stays bounded."""

LIMIT = 1.2
"""Largest change, as a logarithm: to a third, or threefold."""

OTHER_LATENT = 1 << 31
"""What a seed differs in from that of another latent of the same photograph."""


class RatioPainter:
    """Lesions from a mask-to-photograph network that never saw the photograph.

    With `a = G(own)` and `b = G(wanted)` of one grade, latent and noise, each colour is multiplied by
    `(b + 0.03) / (a + 0.03)` within the change map: lesions take the light of the eye, which a difference does not.
    The network draws at the size that it was trained at; the logarithm of the ratio is brought to the photograph's.

    Args:
        network: a trained `DRGAN`.
        image_size: side at which it draws.
        batch_size: photographs per forward pass.
    """

    reads_vessels = False

    def __init__(self, network: Any, *, image_size: int = 256, batch_size: int = 8) -> None:
        self.network, self.image_size, self.batch_size = network, image_size, batch_size

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
        """See `Painter.draw`; with `nothing_new` two drawings of the own masks are compared, with different latents."""
        if grades is None:
            raise ValueError("grades: this painter draws eyes of a grade: give one for each photograph")
        shown = own if nothing_new else {**own, **wanted}
        before, after = (condition_map(self._small(masks)) for masks in (own, shown))
        others = [seed ^ OTHER_LATENT for seed in seeds] if nothing_new else seeds
        starts = range(0, len(seeds), self.batch_size)
        rows = [slice(start, start + self.batch_size) for start in starts]
        ratio = torch.cat([self._log_ratio(before[r], after[r], grades[r], seeds[r], others[r]) for r in rows])
        change = change_map(own, wanted)
        ratio = interpolate(ratio.to(photograph), photograph.shape[2:], mode="bilinear", align_corners=False)
        return ratio_blend(photograph, ratio, change), change

    def _small(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks at the network's size, by area: small lesions fade and do not vanish."""
        size = (self.image_size, self.image_size)
        options: dict[str, Any] = {"mode": "bilinear", "antialias": True, "align_corners": False}
        return {
            key: mask if tuple(mask.shape[2:]) == size else interpolate(mask, size, **options).clamp(0, 1)
            for key, mask in masks.items()
        }

    def _log_ratio(
        self, before: Tensor, after: Tensor, grades: Tensor, seeds: Sequence[int], others: Sequence[int]
    ) -> Tensor:
        a, b = (self._drawn(x, grades, latents) for x, latents in ((before, seeds), (after, others)))
        return torch.log((b.clamp(0, 1) + FLOOR) / (a.clamp(0, 1) + FLOOR))

    def _drawn(self, condition: Tensor, grades: Tensor, seeds: Sequence[int]) -> Tensor:
        device = next(self.network.parameters()).device
        latent, noise = self.network.draw(seeds, size=condition.shape[2:], device=device)
        drawn: Tensor = (self.network(condition.to(device), grades.to(device), latent, noise) + 1) / 2
        return drawn


def change_map(own: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Where and how much a ratio counts, `(B, 1, H, W)` in [0, 1]: lesions that differ, 5 px wider at 256 px."""
    differs = torch.stack([(wanted[name] - own[name]).abs() for name in wanted]).sum(0).clamp(0, 1)
    scale = min(differs.shape[2:]) / 256
    wide = dilated(differs, max(round(5 * scale), 1))
    sigma = max(1.5 * scale, 0.5)
    soft = gaussian_blur(wide, [2 * round(3 * sigma) + 1] * 2, [sigma] * 2).clamp(0, 1)
    return soft.masked_fill((soft < 1e-4) | (own["fov"] < 0.5), 0)


def ratio_blend(photograph: Tensor, log_ratio: Tensor, change: Tensor) -> Tensor:
    """`(x + 0.03) * exp(m * clamp(r, -1.2, 1.2)) - 0.03`, in [0, 1]: `r` the logarithm, `m` the change map."""
    return ((photograph + FLOOR) * torch.exp(change * log_ratio.clamp(-LIMIT, LIMIT)) - FLOOR).clamp(0, 1)


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
