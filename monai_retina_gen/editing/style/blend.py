"""Bringing an edit back into the photograph.

`delta` adds the difference of two generated images, edited and unedited, inside a soft mask around lesions and at the
photograph's own resolution: what the inversion lost of the patient is in neither. `ratio` multiplies by the ratio of
their colours, as painting does: it keeps the photograph's light, and dark lesions become fainter. `replace` is the
paper's `G(S_new)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate
from torchvision.transforms.functional import gaussian_blur

from monai_retina_gen.editing.gate_measures import DARK, widened
from monai_retina_gen.editing.painting.ratio_painter import FLOOR, ratio_blend
from monai_retina_gen.networks.inputs import resized

BLENDS = ("delta", "ratio", "replace")
SOFTNESS = 0.01
"""Standard deviation of the mask's soft edge, as a share of the image's side."""
VISIBLE = 0.25
"""Without a segmenter, pixels that change by this share of the largest change count as edited."""


def edit_mask(masks: Sequence[Mapping[str, Tensor]], lesions: Sequence[Sequence[str]], retina: Tensor) -> Tensor:
    """Soft neighbourhoods of lesions, `(B, 1, S, S)` in [0, 1]; 0 on the optic disc and outside `retina`.

    `masks` are soft ones before and after the edit; those that lack a lesion of a row say nothing about that row.
    """
    found = _seen(masks, lesions, lesions, retina)
    disc = _seen(masks, lesions, [["od"]] * len(lesions), retina)
    return _softened(widened(found.to(retina))) * retina * ~disc


def _seen(
    masks: Sequence[Mapping[str, Tensor]],
    lesions: Sequence[Sequence[str]],
    names: Sequence[Sequence[str]],
    like: Tensor,
) -> Tensor:
    """Where any of a row's `names` is seen by the masks that know all lesions of the row: `(B, 1, S, S)` bool."""
    found = torch.zeros_like(like, dtype=torch.bool)
    for each in masks:
        knows = [all(lesion in each for lesion in row) for row in lesions]
        for name in sorted({name for row in names for name in row} & set(each)):
            rows = torch.tensor([k and name in row for k, row in zip(knows, names, strict=True)])
            found |= (each[name] > 0.5) & rows.to(like.device)[:, None, None, None]
    return found


def change_mask(before: Tensor, after: Tensor) -> Tensor:
    """Soft neighbourhood of what changes most, `(B, 1, S, S)`: for networks that no segmenter knows."""
    change = (after - before).abs().mean(1, keepdim=True)
    strong = change > VISIBLE * change.amax((2, 3), keepdim=True).clamp(min=1 / 255)
    return _softened(widened(strong.float())) * (before.amax(1, keepdim=True) > DARK)


def edit_neighbourhood(
    before: Tensor,
    after: Tensor,
    lesions: Sequence[Sequence[str]],
    masks: Sequence[Mapping[str, Tensor]],
    after_masks: Mapping[str, Tensor],
) -> Tensor:
    """Soft masks of edits, `(B, 1, S, S)`: around their lesions, or where none is known, where the image changes most.

    `masks` is what is known of the photographs and of the unedited images, of any side; `after_masks` of the edited
    ones, empty where no segmenter knows them. Where these know the lesions of a row and none is seen, before or after,
    the row's mask is empty.
    """
    side = (int(before.shape[-1]),) * 2
    fitted = [{n: _fitted(mask.to(before), side) for n, mask in each.items()} for each in (*masks, after_masks)]
    retina = (before.amax(1, keepdim=True) > DARK).to(before)
    segmented = torch.tensor([all(name in after_masks for name in row) for row in lesions]).to(before.device)
    seen = _seen(fitted, lesions, lesions, retina).flatten(1).any(1)
    around = (seen | segmented)[:, None, None, None]
    return torch.where(around, edit_mask(fitted, lesions, retina), change_mask(before, after))


def blend_delta(photographs: Tensor, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
    """`x + m * up(G(S_new) - G(S))`, clamped to [0, 1]; where `m` is 0, the photograph bit for bit."""
    side = tuple(photographs.shape[-2:])
    delta, soft = (interpolate(x, side, mode="bilinear", antialias=True) for x in (after - before, mask))
    # antialiased weights leave traces of about 1e-9 beside the mask
    return torch.where(soft > 1e-4, (photographs + soft * delta.to(photographs)).clamp(0, 1), photographs)


def blend_ratio(photographs: Tensor, before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
    """`ratio_blend` of `up(log((G(S_new) + 0.03) / (G(S) + 0.03)))`; where that or `m` is 0, the photograph."""
    side = tuple(photographs.shape[-2:])
    ratio = torch.log((after.clamp(0, 1) + FLOOR) / (before.clamp(0, 1) + FLOOR))
    ratio, soft = (interpolate(x.to(photographs), side, mode="bilinear", antialias=True) for x in (ratio, mask))
    changed = (soft > 1e-4) & (ratio != 0)  # the formula alone is not exact
    return torch.where(changed, ratio_blend(photographs, ratio, soft.clamp(0, 1)), photographs)


def blend_replace(photographs: Tensor, after: Tensor) -> Tensor:
    """The generator's edited image at the photograph's side."""
    return resized(after, int(photographs.shape[-1])).to(photographs)


def _softened(mask: Tensor) -> Tensor:
    sigma = max(SOFTNESS * mask.shape[-1], 0.5)
    width = min(2 * int(3 * sigma + 0.5) + 1, 2 * ((mask.shape[-1] - 1) // 2) - 1)
    return gaussian_blur(mask, [max(width, 3)] * 2, [sigma] * 2).clamp(0, 1)


def _fitted(mask: Tensor, side: tuple[int, int]) -> Tensor:
    """A soft mask at another side, by its largest value: a lesion of a pixel is not averaged away."""
    return mask if tuple(mask.shape[-2:]) == side else adaptive_max_pool2d(mask, side)
