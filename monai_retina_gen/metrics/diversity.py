"""Diversity within a grade: a figure of image pairs, averaged over random pairs of each group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.metrics.metric import reinit__is_reduced
from torch import Tensor

from monai_retina_gen.metrics.base import FundusMetric, OutputTransform
from monai_retina_gen.metrics.image_pairs import check_images
from monai_retina_gen.metrics.result import plain

__all__ = ["Diversity", "DiversityMetric", "pair_diversity"]

PairFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """Mean over random pairs of images within each group.

    Attributes:
        mean: unweighted mean over the groups; nan where no group has two images.
        per_group: mean of each group; nan for a group of one image.
        pairs: number of pairs behind each group's mean.
    """

    mean: float
    per_group: dict[int, float]
    pairs: dict[int, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where a figure is undefined."""
        return plain(vars(self))


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

    Raises:
        ValueError: if `groups` has another length than `images`, or `pairs` < 1.
        monai_retina_gen.errors.ImageValueError: for images of another kind.
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


class DiversityMetric(FundusMetric):
    """Collects images and their grades over an epoch; subclasses give the figure of a pair.

    Args:
        pairs: pairs of each group.
        seed: of the pairs.
        output_transform: see `ignite.metrics.Metric`; must give `(images, grades)`.
        device: where the images are kept.

    Raises:
        ignite.exceptions.NotComputableError: in `compute`, before any update.
    """

    def __init__(
        self,
        *,
        pairs: int = 1000,
        seed: int = 0,
        output_transform: OutputTransform = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.pairs, self.seed = pairs, seed
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget all images."""
        self._images: list[Tensor] = []
        self._groups: list[Tensor] = []

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        """Keep one batch of `(images, grades)`."""
        images, groups = self._plain(output)
        self._images.append(images.to(self._device))
        self._groups.append(groups.flatten().to(self._device))

    def compute(self) -> float:
        """Mean over the groups of all batches of all processes."""
        images, groups = self._gather(self._images), self._gather(self._groups)
        return pair_diversity(images, self._per_pair, groups=groups, pairs=self.pairs, seed=self.seed).mean

    @abstractmethod
    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        """Distances of image pairs, (B,)."""
