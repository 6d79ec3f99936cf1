"""Figures of real and generated features from nearest neighbours, in blocks of bounded memory; the data-copying test.

Precision, recall and realism: Kynkaanniemi et al. 2019, arXiv:1904.06991. Density and coverage: Naeem et al. 2020,
arXiv:2002.09797. Copying, C_T: Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from scipy.stats import rankdata, tiecorrect
from sklearn.cluster import KMeans
from torch import Tensor

from monai_retina_gen.metrics.base import check_features, plain

BLOCK_ELEMENTS = 2**24  # 128 MiB of float64 a block
ROUNDING = 1e-13


def distance_blocks(queries: Tensor, references: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances of all queries (n, d) to all references (m, d), float64, a block of query rows at a time.

    Yields the rows of the block as a slice, and its (rows, m) distances. What the matrix product cannot tell from zero
    is zero, so that an exact copy has distance 0.
    """
    # Distances do not change by a shift; near the origin they lose less to cancellation. A row of the data
    # (not its mean) as origin keeps identical rows at exactly zero.
    origin = references[0]
    references = references - origin
    norms = references.square().sum(dim=1)
    rows = max(1, BLOCK_ELEMENTS // len(references))
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows] - origin
        scale = block.square().sum(dim=1)[:, None] + norms
        squared = torch.addmm(scale, block, references.T, alpha=-2)
        squared.masked_fill_(squared <= ROUNDING * scale, 0.0)
        yield slice(start, start + len(block)), squared.sqrt_()


def neighbour_radii(features: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, (n,); `ValueError` if k is not in [1, n - 1]."""
    if not 1 <= k < len(features):
        raise ValueError(f"k = {k} with n = {len(features)} features: pass 1 <= k <= n - 1, or more images")
    radii = features.new_empty(len(features))
    for rows, distances in distance_blocks(features, features):
        index = torch.arange(rows.start, rows.stop, device=features.device)
        distances[index - rows.start, index] = float("inf")  # not its own neighbour
        radii[rows] = distances.kthvalue(k, dim=1).values
    return radii


def nearest_distance(queries: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to, and index of, the nearest reference of each query: (n,) and (n,)."""
    nearest = [distances.min(dim=1) for _, distances in distance_blocks(queries, references)]
    return torch.cat([block.values for block in nearest]), torch.cat([block.indices for block in nearest])


class PrecisionRecallResult(NamedTuple):
    """Shares in [0, 1], float64 scalars."""

    precision: Tensor
    recall: Tensor


def precision_recall(real: Tensor, generated: Tensor, *, k: int = 3) -> PrecisionRecallResult:
    """Share of generated images on the manifold of the real ones, and of real ones on that of the generated.

    The manifold of a set is the union of balls around its rows that reach to the k-th nearest other row
    (Eq. 1); a distance equal to the radius is inside. Two samples of one distribution give about 0.7 to 0.85,
    not 1: print the figures of real against real beside these.

    Args:
        real: (n, d) features of real images.
        generated: (m, d) features of generated images.
        k: neighbour that sets the radius.

    Raises:
        ValueError: unless both sets have more than k rows; for unequal d, NaN or infinite features.

    Examples:
        >>> x = torch.arange(10.0)[:, None]
        >>> [share.item() for share in precision_recall(x, x[:5])]
        [1.0, 0.8]
    """
    real, generated = check_features(real, generated, minimum=k + 1)
    return PrecisionRecallResult(
        precision=_share_inside(generated, real, neighbour_radii(real, k)),
        recall=_share_inside(real, generated, neighbour_radii(generated, k)),
    )


def _share_inside(queries: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    inside = [(distances <= radii).any(dim=1) for _, distances in distance_blocks(queries, centres)]
    return torch.cat(inside).double().mean()


class DensityCoverageResult(NamedTuple):
    """Density (at least 0, may exceed 1) and coverage (share in [0, 1]), float64 scalars."""

    density: Tensor
    coverage: Tensor


def density_coverage(real: Tensor, generated: Tensor, *, k: int = 5) -> DensityCoverageResult:
    """How densely generated images fill the neighbourhoods of real ones, and how many of these they reach.

    A neighbourhood is the ball around a real row that reaches to its k-th nearest other real row. Density is
    the number of neighbourhoods around a generated row, averaged and divided by k (Eq. 4); coverage the share
    of neighbourhoods with a generated row inside (Eq. 5). A distance equal to the radius is inside. Arguments as of
    `precision_recall`.

    Raises:
        ValueError: with no more than k real rows, no generated row, unequal d, NaN or infinite features.

    Examples:
        >>> x = torch.arange(10.0)[:, None]
        >>> density_coverage(x, x[:5], k=1).coverage.item()
        0.6
    """
    real, generated = check_features(real, generated, minimum=1)
    radii = neighbour_radii(real, k)
    memberships, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for _, distances in distance_blocks(generated, real):
        inside = distances <= radii
        memberships += int(inside.sum())
        covered |= inside.any(dim=0)
    density = real.new_tensor(memberships / (k * len(generated)))
    return DensityCoverageResult(density, covered.double().mean())


def realism_score(real: Tensor, generated: Tensor, *, k: int = 3) -> Tensor:
    r"""How near each generated image is to the manifold of the real ones, float64 (m,).

    .. math:: R(\phi_g) = \max_{\phi_r}
              \frac{\lVert\phi_r - \mathrm{NN}_k(\phi_r)\rVert}{\lVert\phi_g - \phi_r\rVert}

    over the real rows whose radius (the numerator) is at most the median radius: the paper prunes the larger half,
    since few and wide balls of sparse regions would call anything real. At least 1 means inside a ball; infinite for an
    image that coincides with a kept real one (a copy: the most real and the least wanted).
    """
    real, generated = check_features(real, generated, minimum=1)
    radii = neighbour_radii(real, k)
    kept = radii <= radii.quantile(0.5)
    real, radii = real[kept], radii[kept]
    scores = [
        torch.where(distances == 0, float("inf"), radii / distances).amax(dim=1)
        for _, distances in distance_blocks(generated, real)
    ]
    return torch.cat(scores)


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
    """Cells of k-means on the first set, the training images: the index of the nearest centre for each set's rows."""
    train = sets[0].cpu().numpy()
    start = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:cells].numpy()]
    found = KMeans(cells, init=start, n_init=1, max_iter=100, tol=0).fit(train)
    centres = torch.from_numpy(found.cluster_centers_).to(sets[0])
    return [nearest_distance(x, centres)[1] for x in sets]


def ratio_of_distances(to_train: Tensor, to_holdout: Tensor) -> Tensor:
    """Nearest training distance over nearest held-out distance, of equal shapes; 1 where both are equal."""
    return torch.where(to_train == to_holdout, 1.0, to_train / to_holdout)
