"""All feature metrics of one generator at once, each with its statement and its real-against-real floor."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from monai_retina_gen.metrics.base import MetricResult, check_features
from monai_retina_gen.metrics.kernel import (
    distance_of_checked,
    is_rank_deficient,
    kernel_distance,
    kernel_permutation_p_value,
)
from monai_retina_gen.metrics.manifold import density_coverage, precision_recall

FEATURE_METRICS = ("fid", "kid", "precision", "recall", "density", "coverage")
FEW_IMAGES = 50
MANIFOLD_K = {"precision_recall": 3, "density_coverage": 5}
SMALLEST_SET = max(MANIFOLD_K.values()) + 1


def evaluate_features(
    real: Tensor,
    generated: Tensor,
    *,
    extractor: str,
    extractor_sha256: str,
    splits: int = 5,
    permutations: int = 1000,
    seed: int = 0,
) -> dict[str, MetricResult]:
    """FID, KID, precision, recall, density and coverage by name, each with what has to stand beside it.

    The floor is the figure of real against real: the real images are split at random in two halves, several
    times. Since FID falls with n whatever the images, `value_at_floor_n` is taken with as many generated
    images against the same halves, and `ratio_to_floor` compares these two, never figures of different n.

    Args:
        real: (n, d) features of real images that the generator has not seen.
        generated: (m, d) features of generated images.
        extractor: name of the feature extractor.
        extractor_sha256: sha256 of its weights; empty for a function without weights.
        splits: number of random splits for the floor.
        permutations: of the KID's permutation test.
        seed: of splits, subsets and permutations.

    Raises:
        ValueError: with fewer than six images in a set, unequal d, NaN or infinite features, splits < 1.
    """
    real, generated = check_features(real, generated, minimum=SMALLEST_SET)
    if splits < 1:
        raise ValueError(f"splits = {splits}: pass at least 1")
    figures, floors = _figures(real, generated, seed), _floors(real, generated, splits, seed)
    p_value = kernel_permutation_p_value(real, generated, permutations=permutations, seed=seed)
    return {
        name: MetricResult(
            name=name,
            value=figures[name],
            n_real=len(real),
            n_generated=len(generated),
            extractor=extractor,
            extractor_sha256=extractor_sha256,
            dimension=real.shape[1],
            std=figures["kid_std"] if name == "kid" else math.nan,
            p_value=p_value if name == "kid" else math.nan,
            floor_n=floors.size,
            floor=_mean(floors.real, name),
            floor_std=statistics.pstdev(f[name] for f in floors.real) if floors.real else math.nan,
            value_at_floor_n=_mean(floors.generated, name),
            ratio_to_floor=_ratio(name, floors),
            warnings=tuple(_warnings(name, real, generated, floors.size)),
        )
        for name in FEATURE_METRICS
    }


class _Floors(NamedTuple):
    """Figures of half against half, and of generated against half, `size` images each; empty if too few."""

    real: list[dict[str, float]]
    generated: list[dict[str, float]]
    size: int


def _figures(real: Tensor, generated: Tensor, seed: int) -> dict[str, float]:
    kid = kernel_distance(real, generated, seed=seed)
    figures = {
        "fid": distance_of_checked(real, generated),
        "kid": kid.mean,
        "kid_std": kid.std,
        **precision_recall(real, generated, k=MANIFOLD_K["precision_recall"])._asdict(),
        **density_coverage(real, generated, k=MANIFOLD_K["density_coverage"])._asdict(),
    }
    return {name: float(value) for name, value in figures.items()}


def _floors(real: Tensor, generated: Tensor, splits: int, seed: int) -> _Floors:
    size = min(len(real) // 2, len(generated))
    if size < SMALLEST_SET:
        return _Floors([], [], 0)
    floors = _Floors([], [], size)
    for half, other, chosen in random_halves(real, generated, splits, seed):
        floors.real.append(_figures(half, other, seed))
        floors.generated.append(_figures(half, chosen, seed))
    return floors


def random_halves(real: Tensor, generated: Tensor, splits: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Random halves of real rows, and as many generated ones, several times."""
    size, generator = min(len(real) // 2, len(generated)), torch.Generator().manual_seed(seed)
    for _ in range(splits):
        order = torch.randperm(len(real), generator=generator).to(real.device)
        chosen = torch.randperm(len(generated), generator=generator)[:size].to(real.device)
        yield real[order[:size]], real[order[size : 2 * size]], generated[chosen]


def _mean(figures: list[dict[str, float]], name: str) -> float:
    return statistics.fmean(f[name] for f in figures) if figures else math.nan


def _ratio(name: str, floors: _Floors) -> float:
    """Value over floor; KID is unbiased, its floor is 0 give or take, and a ratio to that means nothing."""
    floor = _mean(floors.real, name)
    return _mean(floors.generated, name) / floor if name != "kid" and floor > 0 else math.nan


def _warnings(name: str, real: Tensor, generated: Tensor, floor_n: int) -> Iterator[str]:
    n, m, d = len(real), len(generated), real.shape[1]
    if min(n, m) < FEW_IMAGES:
        yield f"{n} real and {m} generated images: under {FEW_IMAGES}, no figure is reliable"
    if name == "fid" and is_rank_deficient(real, generated):
        yield f"rank-deficient (n <= d = {d}), not comparable with papers"
    if floor_n == 0:
        yield f"no real-against-real floor: {n} real images are too few to split"
