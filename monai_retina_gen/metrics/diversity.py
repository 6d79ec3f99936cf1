"""Diversity within a grade: MS-SSIM (Wang et al. 2003) or LPIPS (Zhang et al. 2018, arXiv:1801.03924) of image pairs.

Real photographs of one grade are alike by layout: print their figure beside that of generated ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.networks.utils import eval_mode
from pytorch_msssim import ms_ssim
from torch import Tensor, nn

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics.base import PlainValues, check_image_pair, check_images

PairFunction = Callable[[Tensor, Tensor], Tensor]
SCALES = 5


@dataclass(frozen=True, kw_only=True)
class Diversity(PlainValues):
    """Mean over random pairs of images within each group.

    Attributes:
        mean: unweighted mean over the groups; nan where no group has two images.
        per_group: mean of each group; nan for a group of one image.
        pairs: number of pairs behind each group's mean.
    """

    mean: float
    per_group: dict[int, float]
    pairs: dict[int, int]


def pair_diversity(
    images: Tensor,
    pair_function: PairFunction,
    *,
    groups: Tensor | None = None,
    pairs: int = 1000,
    seed: int = 0,
    batch_size: int = 32,
) -> Diversity:
    """Mean of a figure over random pairs of distinct images of one group.

    Args:
        images: (n, C, H, W) in [0, 1].
        pair_function: figures (B,) of two batches of images.
        groups: (n,) integers, for instance grades; None puts all images in one group, 0.
        pairs: pairs of each group, drawn without replacement; all pairs where a group has no more.
        seed: of the pairs.
        batch_size: pairs at a time.
    """
    check_images("images", images)
    labels = torch.zeros(len(images), dtype=torch.int64) if groups is None else groups.flatten().cpu()
    if len(labels) != len(images) or pairs < 1:
        raise ValueError(f"{len(images)} images, {len(labels)} groups, pairs = {pairs}: pass a group each, pairs >= 1")
    generator = torch.Generator().manual_seed(seed)
    means, counts = {}, {}
    for group in labels.unique().tolist():
        members = (labels == group).nonzero().flatten()
        chosen = members[_random_pairs(len(members), pairs, generator)]
        values = [
            pair_function(images[a], images[b]) for a, b in (p.unbind(1) for p in chosen.split(batch_size)) if len(a)
        ]
        means[group] = float(torch.cat(values).double().mean()) if values else float("nan")
        counts[group] = len(chosen)
    defined = [mean for group, mean in means.items() if counts[group]]
    overall = sum(defined) / len(defined) if defined else float("nan")
    return Diversity(mean=overall, per_group=means, pairs=counts)


def _random_pairs(n: int, pairs: int, generator: torch.Generator) -> Tensor:
    """(p, 2) indices of distinct unordered pairs of n things, p = min(pairs, all)."""
    total = n * (n - 1) // 2
    numbers = torch.randperm(total, generator=generator)[:pairs]
    # Pair number t of the triangle 0 <= b < a < n, row by row: a(a-1)/2 + b = t.
    a = ((1 + (8.0 * numbers.double() + 1).sqrt()) / 2).floor().long()
    return torch.stack([a, numbers - a * (a - 1) // 2], dim=1)


def inscribed_square(images: Tensor) -> Tensor:
    """The centred square, floor(S / sqrt(2)) a side, inside the circle that touches the sides of square images.

    Photographs that are cropped to the field of view show the retina in that circle and black around it. The
    square leaves out the outer 36 % of the circle's area, and has no black but where the camera clipped the
    circle at top and bottom to less than 0.71 of its height.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ImageValueError(f"images are {height} x {width}: pass square images, cropped to the field of view")
    side = math.floor(width / math.sqrt(2))
    start = (width - side) // 2
    return images[..., start : start + side, start : start + side]


def field_of_view_ms_ssim(preds: Tensor, target: Tensor, *, win_size: int = 11) -> Tensor:
    """MS-SSIM (B,) of each pair inside `inscribed_square`: black corners, equal in all images, would inflate it.

    A crop, not a masked mean of the SSIM map: no window of any scale then touches the black ground.

    Args:
        preds: (B, C, S, S) in [0, 1], cropped to the field of view.
        target: (B, C, S, S) in [0, 1], cropped to the field of view.
        win_size: odd side of the Gaussian window (sigma 1.5). The five scales need an inscribed square above
            16 (win_size - 1), thus images of S >= 228 with the standard 11, S >= 93 with 5; state another
            window than 11 beside the figure.

    Raises:
        ImageValueError: for images of another kind, unequal shapes, or too small.
    """
    check_image_pair(preds, target)
    preds, target = inscribed_square(preds), inscribed_square(target)
    smallest = (win_size - 1) * 2 ** (SCALES - 1)
    if preds.shape[-1] <= smallest:
        raise ImageValueError(
            f"the field of view's inscribed square is {preds.shape[-1]} pixels and must exceed {smallest} "
            f"for win_size = {win_size}: pass larger images or a smaller odd win_size, and state it"
        )
    return ms_ssim(preds, target, data_range=1.0, size_average=False, win_size=win_size)


def lpips_distance(preds: Tensor, target: Tensor, network: nn.Module | PairFunction) -> Tensor:
    """Perceptual distance (B,) of each pair of images.

    Args:
        preds: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].
        network: takes two batches **in [-1, 1]** and gives one figure a pair, as `lpips.LPIPS` does; a
            network runs in evaluation mode.
    """
    check_image_pair(preds, target)
    with eval_mode(*([network] if isinstance(network, nn.Module) else [])):
        values = network(preds * 2 - 1, target * 2 - 1)
    if values.numel() != len(preds):
        raise ValueError(f"network gave {tuple(values.shape)} for {len(preds)} pairs: it must give one figure each")
    return values.detach().reshape(len(preds))
