"""Contribution scores: how much each style channel changes the image inside lesions, and everywhere else.

Source: Zhao et al. 2023, Eq. 3-5. With `y = sum(image * mask)`, `R_k = dy / dS_k` is a vector-Jacobian product whose
vector is the mask; all lesions and all other regions are one batch of such vectors, for one forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_retina_gen.editing.gate_measures import DARK, LESIONS, widened
from monai_retina_gen.editing.style.score_presets import LESION_COLORS, DirectionPreset
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks import StyleGAN3

OTHER_REGIONS = ("vessel", "od", "background")
"""Regions that an edit must leave alone; `background` is the field of view without all others."""


def style_gradients(network: StyleGAN3, styles: Sequence[Tensor], vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients `(V, B, K)` of `sum(image * vector)` for all styles, in one batched backward pass; and images.

    `vectors` are `(V, B, 3, H, W)`, the images `(B, 3, H, W)` in [-1, 1].
    """
    leaves = [style.detach().requires_grad_() for style in styles]
    with torch.enable_grad():
        image = network.synthesis.run(leaves)
        found = torch.autograd.grad(image, leaves, vectors, is_grads_batched=True)
    return torch.cat(found, dim=2), image.detach()


def region_masks(images: Tensor, masks: Mapping[str, Tensor], lesions: Sequence[str]) -> dict[str, Tensor]:
    """Masks of the lesions and of `OTHER_REGIONS`, `(B, 1, H, W)` of 0 and 1; vessels and disc may be missing.

    `ImageValueError` for a missing lesion, or masks of another size.
    """
    for name, mask in masks.items():
        if mask.shape != (len(images), 1, *images.shape[-2:]):
            raise ImageValueError(
                f"mask {name!r}: shape {tuple(mask.shape)} came, wanted {(len(images), 1, *images.shape[-2:])}"
            )
    missing = sorted(set(lesions) - set(masks))
    if missing:
        raise ImageValueError(f"masks of {sorted(masks)} came; those of {missing} are wanted too")
    found = {name: (masks[name] > 0.5).float() for name in lesions}
    found |= {name: (masks[name] > 0.5).float() for name in OTHER_REGIONS if name in masks}
    taken = torch.stack([mask for name, mask in masks.items() if name in (*LESIONS, *OTHER_REGIONS)]).amax(0) > 0.5
    found["background"] = ((images.amax(1, keepdim=True) > DARK) & ~taken).float()
    return found


@dataclass(frozen=True)
class ScoreTable:
    """Mean scores `(V, K)` over images, signed and absolute, of regions: lesions first.

    `counts` are the images that had the region, `skipped` those whose mask of it was empty, or too small.
    """

    regions: tuple[str, ...]
    signed: Tensor
    absolute: Tensor
    counts: dict[str, int]
    skipped: dict[str, int]

    def consistency(self, region: str) -> Tensor:
        """`|mean R| / mean |R|` of every channel, `(K,)`: 1 where the sign is the same in all images."""
        row = self.regions.index(region)
        return self.signed[row].abs() / self.absolute[row].clamp(min=1e-30)


class ContributionScores:
    """Scores of all style channels for lesions and other regions, added up over batches."""

    def __init__(self, network: StyleGAN3, preset: DirectionPreset, lesions: Sequence[str]) -> None:
        self.network, self.preset, self.lesions = network, preset, tuple(lesions)
        self.regions = (*self.lesions, *OTHER_REGIONS)
        self._sums: dict[str, Tensor] = {}
        self._counts, self._skipped = dict.fromkeys(self.regions, 0), dict.fromkeys(self.regions, 0)

    def update(self, styles: Sequence[Tensor], masks: Mapping[str, Tensor], images: Tensor | None = None) -> None:
        """Add a batch: styles of `B` images, their masks, and the images in [0, 1], if they were made before."""
        if images is None:
            with torch.no_grad():
                images = ((self.network.synthesis.run(list(styles)) + 1) / 2).clamp(0, 1)
        regions = region_masks(images, {k: m.to(images.device) for k, m in masks.items()}, self.lesions)
        names = [name for name in self.regions if name in regions]
        vectors = self._vectors(regions, names)
        gradients, _ = style_gradients(self.network, styles, vectors)
        for name, scores in zip(names, self._scores(gradients, regions, names), strict=True):
            self._add(name, scores, regions[name].sum((1, 2, 3)) >= self.preset.min_pixels)

    def compute(self) -> ScoreTable:
        """Mean scores; a region that no image had has scores of 0."""
        zero = torch.zeros(2, self.network.style_space.size, dtype=torch.float64)
        sums = [self._sums.get(name, zero) for name in self.regions]
        shares = [max(self._counts[name], 1) for name in self.regions]
        signed, absolute = (
            torch.stack([pair[i] / n for pair, n in zip(sums, shares, strict=True)]).float() for i in (0, 1)
        )
        return ScoreTable(self.regions, signed, absolute, dict(self._counts), dict(self._skipped))

    def _vectors(self, regions: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
        made = [self._vector(name, regions[name], regions) for name in names]
        if self.preset.form == "released":  # the rest of the image is the whole less the inside
            made += [torch.ones_like(made[0])]
        return torch.stack(made)

    def _vector(self, name: str, mask: Tensor, regions: Mapping[str, Tensor]) -> Tensor:
        colors = LESION_COLORS.get(name, (1 / 3,) * 3) if self.preset.lesion_colors else (1.0,) * 3
        weights = mask.new_tensor(colors).view(1, 3, 1, 1)
        if self.preset.form in ("sum", "released"):
            return weights * mask
        inside = mask / mask.sum((2, 3), keepdim=True).clamp(min=1)
        if name not in LESIONS or self.preset.form == "mean":
            return weights * inside
        lesions = torch.stack([regions[lesion] for lesion in self.lesions]).amax(0)
        ring = widened(mask) * (1 - lesions) * (1 - mask)
        return weights * (inside - ring / ring.sum((2, 3), keepdim=True).clamp(min=1))

    def _scores(self, gradients: Tensor, regions: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
        if self.preset.form != "released":
            return gradients
        each = gradients.double()
        inside, rest = each[:-1].abs(), (each[-1:] - each[:-1]).abs()
        area = 3 * torch.stack([regions[name].sum((1, 2, 3)) for name in names]).double()[..., None]
        left = 255 - area
        left = torch.where(left == 0, float("inf"), left)  # the released code would divide by zero
        return 10 * inside / area.clamp(min=1) + rest / left

    def _add(self, name: str, scores: Tensor, present: Tensor) -> None:
        kept = scores[present].detach().double().cpu()
        self._counts[name] += len(kept)
        self._skipped[name] += len(scores) - len(kept)
        both = torch.stack([kept.sum(0), kept.abs().sum(0)])
        self._sums[name] = self._sums[name] + both if name in self._sums else both
