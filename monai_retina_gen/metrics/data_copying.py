"""Data-copying test C_T (Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_retina_gen.metrics.features import check_features
from monai_retina_gen.metrics.neighbours import nearest_distance
from monai_retina_gen.metrics.result import plain

__all__ = ["CopyingTest", "celled_statistic", "data_copying_test", "mann_whitney_z", "training_cells"]

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

    Examples:
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

    Examples:
        >>> x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
        >>> data_copying_test(x[:30], x[30:60], x[:30]).statistic < -5  # exact copies
        True
    """
    train, generated = check_features(train, generated, minimum=1)
    holdout, _ = check_features(holdout.to(train.device), generated, minimum=1)
    if not 1 <= cells <= len(train):
        raise ValueError(f"cells = {cells} with {len(train)} training images: pass a number in [1, {len(train)}]")
    assigned, in_holdout, in_generated = training_cells([train, holdout, generated], cells, seed=seed)
    return celled_statistic(
        _distance_in_cell(generated, in_generated, train, assigned),
        _distance_in_cell(holdout, in_holdout, train, assigned),
        in_generated,
        in_holdout,
        cells=cells,
        min_images=min_images,
    )


def celled_statistic(
    generated: Tensor,
    holdout: Tensor,
    generated_cells: Tensor,
    holdout_cells: Tensor,
    *,
    cells: int,
    min_images: int = 20,
) -> CopyingTest:
    """C_T of distances that are known already, to the nearest training image of the same cell.

    Args:
        generated: (g,) distances of generated images; infinite where their cell has no training image.
        holdout: (m,) distances of real images that the generator has not seen.
        generated_cells: (g,) cell of each.
        holdout_cells: (m,) cell of each.
        cells: number of cells.
        min_images: see `data_copying_test`.

    Examples:
        >>> near, far, cell = torch.zeros(20), torch.ones(20), torch.zeros(20, dtype=torch.long)
        >>> round(celled_statistic(near, far, cell, cell, cells=1).statistic, 2)
        -6.24
    """
    scores, weights = [], []
    for cell in range(cells):
        first, second = generated[generated_cells == cell], holdout[holdout_cells == cell]
        tested = min(len(first), len(second)) >= max(min_images, 1) and bool(second.isfinite().all())
        scores.append(mann_whitney_z(first, second) if tested else math.nan)
        weights.append(len(second) / len(holdout) if tested else 0.0)
    share = sum(weights)
    weighted = sum(w * z for w, z in zip(weights, scores, strict=True) if w)
    return CopyingTest(weighted / share if share else math.nan, scores, share)


def training_cells(sets: Sequence[Tensor], cells: int, *, seed: int = 0) -> list[Tensor]:
    """Cells of k-means on the first set, the training images: the index of the nearest centre for each set's rows.

    Args:
        sets: (n, d) float64 features, those of the training images first.
        cells: number of cells, at most as many as training images.
        seed: of k-means.

    Examples:
        >>> x = torch.tensor([[0.0], [1.0], [9.0]], dtype=torch.float64)
        >>> low, high = training_cells([x, x[1:]], 2)[1].tolist()
        >>> low != high
        True
    """
    centres = _kmeans(sets[0], cells, seed)
    return [nearest_distance(x, centres)[1] for x in sets]


def _distance_in_cell(images: Tensor, cells: Tensor, train: Tensor, train_cells: Tensor) -> Tensor:
    """Distance to the nearest training image of the same cell, (n,); infinite where there is none."""
    distances = images.new_full((len(images),), math.inf)
    for cell in cells.unique().tolist():
        own = train[train_cells == cell]
        if len(own):
            distances[cells == cell] = nearest_distance(images[cells == cell], own)[0]
    return distances


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
