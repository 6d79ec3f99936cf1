"""Data-copying test C_T (Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675), and the ratio of distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from scipy.stats import rankdata, tiecorrect
from sklearn.cluster import KMeans
from torch import Tensor

from monai_retina_gen.metrics.manifold import nearest_distance
from monai_retina_gen.metrics.result import plain


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
    """Normal score of the Mann-Whitney U of two samples, (n,) and (m,), ties counted half and corrected for.

    Below 0 where `first` tends to the smaller values; 0 where all values are equal.

    Examples:
        >>> round(mann_whitney_z(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])), 3)
        -1.549
    """
    n, m = len(first), len(second)
    ranks = rankdata(torch.cat([first, second]).cpu().numpy())
    variance = n * m / 12 * (n + m + 1) * tiecorrect(ranks)
    return float(ranks[:n].sum() - n * (n + m + 1) / 2) / math.sqrt(variance) if variance > 0 else 0.0


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
        min_images: a cell with fewer images of either kind than this, or with no training image, is not tested (the
            normal score means nothing for a handful).

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
    train = sets[0].cpu().numpy()
    start = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:cells].numpy()]
    found = KMeans(cells, init=start, n_init=1, max_iter=100, tol=0).fit(train)
    centres = torch.from_numpy(found.cluster_centers_).to(sets[0])
    return [nearest_distance(x, centres)[1] for x in sets]


def ratio_of_distances(to_train: Tensor, to_holdout: Tensor) -> Tensor:
    """Nearest training distance over nearest held-out distance, of equal shapes; 1 where both are equal.

    Examples:
        >>> ratio_of_distances(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0])).tolist()
        [0.5, 1.0]
    """
    return torch.where(to_train == to_holdout, 1.0, to_train / to_holdout)
