"""Data-copying test C_T (Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_retina_gen.metrics.features import check_features
from monai_retina_gen.metrics.neighbours import nearest_distance
from monai_retina_gen.metrics.result import plain

__all__ = ["CopyingTest", "data_copying_test", "mann_whitney_z"]

KMEANS_STEPS = 100


class CopyingTest(NamedTuple):
    """C_T over cells; much below 0 is copying, much above 0 underfitting.

    Attributes:
        statistic: mean of the cells' z weighted by held-out images; nan if no cell could be tested.
        cell_z: z of each cell; nan for a cell that was not tested.
        tested_share: share of held-out images in tested cells.
    """

    statistic: float
    cell_z: list[float]
    tested_share: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where a figure is undefined."""
        return plain(self._asdict())


def mann_whitney_z(first: Tensor, second: Tensor) -> float:
    """Normal score of the Mann-Whitney U of two samples, ties counted half and corrected for.

    Args:
        first: (n,) values.
        second: (m,) values.

    Returns:
        Below 0 where `first` tends to the smaller values; 0 where all values are equal.

    Example:
        >>> round(mann_whitney_z(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])), 3)
        -1.549
    """
    n, m = len(first), len(second)
    values, inverse, counts = torch.cat([first, second]).unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2).double()[inverse]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    total, ties = n + m, float((counts.double() ** 3 - counts).sum())
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    return (u - n * m / 2) / math.sqrt(variance) if len(values) > 1 else 0.0


def data_copying_test(
    train: Tensor,
    holdout: Tensor,
    generated: Tensor,
    *,
    cells: int = 1,
    min_images: int = 20,
    seed: int = 0,
) -> CopyingTest:
    """Whether generated images lie nearer to the training images than held-out real images do.

    Mann-Whitney z of the distances to the nearest training image, generated against held-out. `cells=1` is
    the global form. With more, training features are first put into cells by k-means, each image is tested in
    the cell of its nearest centre, against the training images there, and z is averaged by held-out images,
    so that copying in one region is not hidden by underfitting in another.

    Args:
        train: (n, d) features of the generator's training images.
        holdout: (m, d) features of real images that the generator has not seen.
        generated: (g, d) features of generated images.
        cells: number of k-means cells (3 is usual for some hundreds of images).
        min_images: a cell with fewer held-out or generated images than this, or with no training image, is
            not tested (the normal score means nothing for a handful).
        seed: of k-means.

    Raises:
        ValueError: for an empty set, unequal d, NaN or infinite features, cells not in [1, n].

    Example:
        >>> x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
        >>> data_copying_test(x[:30], x[30:60], x[:30]).statistic < -5  # exact copies
        True
    """
    train, generated = check_features(train, generated, minimum=1)
    holdout, _ = check_features(holdout.to(train.device), generated, minimum=1)
    if not 1 <= cells <= len(train):
        raise ValueError(f"cells = {cells} with {len(train)} training images: pass a number in [1, {len(train)}]")
    centres = _kmeans(train, cells, seed)
    in_cell = [nearest_distance(x, centres)[1] for x in (train, holdout, generated)]
    scores, weights = [], []
    for cell in range(cells):
        parts = [x[index == cell] for x, index in zip((train, holdout, generated), in_cell, strict=True)]
        scores.append(_cell_z(parts, min_images))
        weights.append(0.0 if math.isnan(scores[-1]) else len(parts[1]) / len(holdout))
    tested = sum(weights)
    weighted = sum(w * z for w, z in zip(weights, scores, strict=True) if w)
    return CopyingTest(weighted / tested if tested else math.nan, scores, tested)


def _cell_z(parts: list[Tensor], min_images: int) -> float:
    train, holdout, generated = parts
    if len(train) == 0 or min(len(holdout), len(generated)) < max(min_images, 1):
        return math.nan
    return mann_whitney_z(nearest_distance(generated, train)[0], nearest_distance(holdout, train)[0])


def _kmeans(features: Tensor, cells: int, seed: int) -> Tensor:
    """Lloyd's algorithm from distinct random rows, (cells, d)."""
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed)).to(features.device)
    centres = features[order[:cells]].clone()
    previous = None
    for _ in range(KMEANS_STEPS):
        index = nearest_distance(features, centres)[1]
        if previous is not None and bool((index == previous).all()):
            break
        for cell in index.unique().tolist():  # an emptied cell keeps its centre
            centres[cell] = features[index == cell].mean(dim=0)
        previous = index
    return centres
