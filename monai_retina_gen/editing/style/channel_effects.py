"""What a step along a style channel does to the image, by finite differences on a set of probe images.

Sources: Wu et al. 2021, "StyleSpace Analysis", arXiv:2011.12799, section 4 (whether a channel's change lies inside a
region); the area of each lesion, vessel and disc before and after comes from a segmenter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from monai_retina_gen.editing.gate_measures import DARK, widened
from monai_retina_gen.editing.lesion_masks import Masker
from monai_retina_gen.editing.style.composition import STRUCTURE_ROWS
from monai_retina_gen.networks import StyleGAN3

EDGE = 1e-12
SMALL = 64
"""Side in pixels at which changes of the image are compared between channels."""


@dataclass(frozen=True)
class StepEffect:
    """Effect of a step, up and down, on the probe images: mean change by one unit (central difference), by row.

    By lesion, `consistency` is the share of the images in which its area moves the way that the mean does, and
    `locality` the share of the image's change in its neighbourhood. `vessel_change` is the mean of 1 - Dice,
    `disc_shift` how far the disc's centre moves as a share of the side, `delta` `(B, 3, s, s)` the image's change.
    """

    change: dict[str, float]
    consistency: dict[str, float]
    locality: dict[str, float]
    vessel_change: float = 0.0
    disc_shift: float = 0.0
    delta: Tensor | None = None


class ChannelProbe:
    """Probe images of styles `(B, K)`, all layers' outputs kept: a step runs only the layers from its own on."""

    def __init__(self, network: StyleGAN3, styles: Tensor, masker: Masker, lesions: Sequence[str]) -> None:
        self.network = network
        self.styles, self.masker, self.lesions = styles.detach(), masker, tuple(lesions)
        self.space = self.network.style_space
        self._features = self._all_features()
        self.images = _unit(self._features[-1])
        self.masks = dict(masker(self.images))
        self.retina = (self.images.amax(1, keepdim=True) > DARK).float()
        known = torch.stack(list(self.masks.values())).amax(0)
        self.background = self.retina * (known < 0.5)
        self.base = self.rows(self.images, self.masks)

    @property
    def row_names(self) -> list[str]:
        """Lesions, then those of `STRUCTURE_ROWS` that the masker gives."""
        return [*self.lesions, *(n for n in STRUCTURE_ROWS if n == "background" or n in self.masks)]

    def spread(self) -> dict[str, float]:
        """Standard deviation of every row over the probe images: the unit in which changes are compared."""
        return {name: float(values.std().clamp(min=EDGE)) for name, values in self.base.items()}

    def rows(self, images: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Areas `(B,)` as shares of the field of view, and the mean brightness of the background."""
        whole = self.retina.sum((1, 2, 3)).clamp(min=1)
        found = {n: masks[n].sum((1, 2, 3)) / whole for n in self.row_names if n != "background"}
        light = (images.mean(1, keepdim=True) * self.background).sum((1, 2, 3))
        return found | {"background": light / self.background.sum((1, 2, 3)).clamp(min=1)}

    @torch.no_grad()
    def stepped(self, step: Tensor, times: float = 1.0) -> Tensor:
        """Probe images in [0, 1] after a step `(K,)` or `(B, K)`."""
        moved = step.reshape(-1, self.space.size).abs().amax(0).nonzero().flatten()
        if not len(moved):
            return self.images
        first, _ = self.space.locate(int(moved[0]))
        styles = self.space.split(self.styles + times * step)
        features = self._features[first - 1] if first else None
        return _unit(self.network.synthesis.run(styles, start_layer=first, features=features))

    def measure(self, step: Tensor, times: float = 1.0) -> StepEffect:
        """Effect of `times` steps up and down, per step."""
        up, down = self.stepped(step, times), self.stepped(step, -times)
        masks = [dict(self.masker(images)) for images in (up, down)]
        high, low = self.rows(up, masks[0]), self.rows(down, masks[1])
        differences = {name: (high[name] - low[name]) / (2 * times) for name in high}
        mean = {name: float(values.mean()) for name, values in differences.items()}
        agree = {n: float((differences[n].sign() == _sign(mean[n])).float().mean()) for n in self.lesions}
        change = (up - down).abs().mean(1, keepdim=True)
        local = {name: self._locality(name, change, masks) for name in self.lesions}
        delta = adaptive_avg_pool2d((up - down) / (2 * times), min(up.shape[-1], SMALL))
        return StepEffect(mean, agree, local, self._vessels(masks), self._disc(masks), delta)

    def outside_products(self, lesion: str, deltas: Sequence[Tensor]) -> Tensor:
        """Products `(M, M)` of the changes that channels make away from a lesion, added up over the probe images."""
        near = widened((self.masks[lesion] > 0.5).float())
        away = 1 - adaptive_max_pool2d(near, deltas[0].shape[-1])
        rows = torch.stack([(delta * away).flatten() for delta in deltas])
        return rows @ rows.T

    def _locality(self, name: str, change: Tensor, masks: Sequence[Mapping[str, Tensor]]) -> float:
        found = torch.stack([each[name] for each in (self.masks, *masks)]).amax(0) > 0.5
        inside = (change * widened(found.float())).sum((1, 2, 3))
        return float((inside / change.sum((1, 2, 3)).clamp(min=EDGE)).mean())

    def _vessels(self, masks: Sequence[Mapping[str, Tensor]]) -> float:
        if "vessel" not in self.masks:
            return 0.0
        a, b = (each["vessel"] > 0.5 for each in masks)
        both, total = (a & b).sum((1, 2, 3)), a.sum((1, 2, 3)) + b.sum((1, 2, 3))
        return float((1 - 2 * both / total.clamp(min=1)).where(total > 0, torch.zeros(())).mean())

    def _disc(self, masks: Sequence[Mapping[str, Tensor]]) -> float:
        if "od" not in self.masks:
            return 0.0
        a, b = (centre_of(each["od"]) for each in masks)
        return float((a - b).norm(dim=1).mean())

    @torch.no_grad()
    def _all_features(self) -> list[Tensor]:
        styles, found = self.space.split(self.styles), list[Tensor]()
        for layer in range(self.network.num_ws):
            before = found[-1] if found else None
            found.append(self.network.synthesis.run(styles, start_layer=layer, features=before, stop_layer=layer + 1))
        return found


def _unit(images: Tensor) -> Tensor:
    return ((images.float() + 1) / 2).clamp(0, 1)


def _sign(value: float) -> float:
    return (value > 0) - (value < 0)


def centre_of(mask: Tensor) -> Tensor:
    """Centre of mass `(B, 2)` as shares of the sides."""
    weight = mask[:, 0].clamp(min=0)
    total = weight.sum((1, 2)).clamp(min=EDGE)
    axes = [torch.linspace(0, 1, side, dtype=weight.dtype, device=weight.device) for side in weight.shape[1:]]
    return torch.stack([(weight.sum(2) @ axes[0]) / total, (weight.sum(1) @ axes[1]) / total], dim=1)
