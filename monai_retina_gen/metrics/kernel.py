"""FID (Heusel et al. 2017, arXiv:1706.08500) without matrix roots; KID (Binkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from ignite.metrics.metric import reinit__is_reduced
from torch import Tensor

from monai_retina_gen.metrics.base import (
    FeatureExtractor,
    FundusMetric,
    OutputTransform,
    check_features,
    extract_features,
)

CHUNK_ROWS = 4096


def frechet_distance(real: Tensor, generated: Tensor) -> Tensor:
    r"""Frechet distance of two sets of features, (n, d) and (m, d), each taken as Gaussian; float64, at least 0.

    .. math:: \lVert\mu_r-\mu_g\rVert^2 + \mathrm{tr}\,\Sigma_r + \mathrm{tr}\,\Sigma_g
              - 2\,\mathrm{tr}(\Sigma_r\Sigma_g)^{1/2}

    With centred rows A, B scaled so that :math:`\Sigma_r = A^T A`, :math:`\Sigma_g = B^T B`, the last trace
    is the nuclear norm of :math:`A B^T`: exact also where a covariance is singular. A set of more than d rows
    is first reduced to d by a QR decomposition in chunks.

    The estimate is biased upwards by a term of order 1/n: compare at equal n only, beside the figure of real
    against real. A warning says where a set has n <= d rows: such a figure cannot be compared with published ones.

    Raises:
        ValueError: with fewer than two rows in a set, unequal d, NaN or infinite features.

    Examples:
        >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> round(frechet_distance(x, x + 2.0).item(), 6)
        16.0
    """
    real, generated = check_features(real, generated)
    if is_rank_deficient(real, generated):
        warnings.warn(
            f"FID of {len(real)} real and {len(generated)} generated images with d = {real.shape[1]} "
            "features is rank-deficient: not comparable with papers",
            stacklevel=2,
        )
    return distance_of_checked(real, generated)


def is_rank_deficient(real: Tensor, generated: Tensor) -> bool:
    """Whether a set has no more rows than features, so that its covariance is singular."""
    return min(len(real), len(generated)) <= real.shape[1]


def distance_of_checked(real: Tensor, generated: Tensor) -> Tensor:
    """`frechet_distance` of float64 features that `check_features` has passed, without the warning."""
    mean_real, mean_generated = real.mean(dim=0), generated.mean(dim=0)
    a, b = _covariance_factor(real, mean_real), _covariance_factor(generated, mean_generated)
    nuclear_norm = torch.linalg.svdvals(a @ b.T).sum()
    shift = (mean_real - mean_generated).square().sum()
    distance = shift + a.square().sum() + b.square().sum() - 2 * nuclear_norm
    return distance.clamp(min=0.0)  # identical sets end at some -1e-13 of rounding


def _covariance_factor(features: Tensor, mean: Tensor) -> Tensor:
    """Rows F, at most d of them where n > d, with F^T F the unbiased covariance."""
    scale = (len(features) - 1) ** 0.5
    if len(features) <= features.shape[1]:
        return (features - mean) / scale
    factor = features.new_zeros(0, features.shape[1])
    for chunk in features.split(CHUNK_ROWS):
        factor = torch.linalg.qr(torch.cat([factor, (chunk - mean) / scale]), mode="r").R
    return factor


class KernelDistanceResult(NamedTuple):
    """Mean and standard deviation over subsets; the latter is nan where one subset is the whole of both."""

    mean: Tensor
    std: Tensor


def kernel_distance(
    real: Tensor, generated: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistanceResult:
    r"""Unbiased squared maximum mean discrepancy with the kernel :math:`k(x,y) = (x \cdot y / d + 1)^3`.

    Being unbiased it can be negative, and its expectation is 0 for two samples of one distribution at any n.

    Args:
        real: (n, d) features of real images.
        generated: (m, d) features of generated images.
        subsets: number of random subsets that are averaged.
        subset_size: rows of each subset, drawn without replacement; min(subset_size, n, m) are used. If that
            is the whole of both sets, the figure is computed once.
        seed: of the subsets.

    Returns:
        `KernelDistanceResult(mean, std)`, float64 scalars.

    Raises:
        ValueError: with fewer than two rows in a set or subset, unequal d, NaN or infinite features.

    Examples:
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
        >>> kernel_distance(x, y).mean.item()  # k(0, 1) + k(0, 2) - (1 + 1 + 1 + 27) / 2
        -13.0
    """
    real, generated = check_features(real, generated)
    size = min(subset_size, len(real), len(generated))
    if subsets < 1 or size < 2:
        raise ValueError(f"subsets = {subsets}, subset_size = {subset_size}: pass at least 1 subset of 2 rows")
    if size == len(real) == len(generated):
        return KernelDistanceResult(_mmd2(real, generated), real.new_full((), float("nan")))
    generator = torch.Generator().manual_seed(seed)
    values = torch.stack(
        [_mmd2(_draw(real, size, generator), _draw(generated, size, generator)) for _ in range(subsets)]
    )
    return KernelDistanceResult(values.mean(), values.std(correction=0))


def kernel_permutation_p_value(
    real: Tensor, generated: Tensor, *, permutations: int = 1000, max_samples: int = 1000, seed: int = 0
) -> float:
    """P-value of "both sets come from one distribution" by permuting which row is real.

    `(1 + relabellings with at least the observed distance) / (1 + permutations)`. Rows are exchanged singly: give one
    photograph a patient, or read the p-value as too small. Of a set larger than `max_samples` a random subset is
    tested.
    """
    real, generated = check_features(real, generated)
    generator = torch.Generator().manual_seed(seed)
    real, generated = (_draw(x, min(max_samples, len(x)), generator) for x in (real, generated))
    kernel = _kernel(pooled := torch.cat([real, generated]), pooled)
    labels = torch.zeros(permutations + 1, len(pooled), dtype=kernel.dtype, device=kernel.device)
    labels[0, : len(real)] = 1  # row 0: as observed
    for row in labels[1:]:
        row[torch.randperm(len(pooled), generator=generator)[: len(real)].to(row.device)] = 1
    values = _mmd2_of_labels(kernel, labels, len(real))
    # Relabellings equal to the observed one differ from it in rounding only and must count.
    reached = int((values[1:] >= values[0] - 1e-9 * kernel.abs().mean()).sum())
    return (1 + reached) / (1 + permutations)


def _draw(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(kernel: Tensor) -> Tensor:
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


def _mmd2(x: Tensor, y: Tensor) -> Tensor:
    return _mean_off_diagonal(_kernel(x, x)) + _mean_off_diagonal(_kernel(y, y)) - 2 * _kernel(x, y).mean()


def _mmd2_of_labels(kernel: Tensor, labels: Tensor, n: int) -> Tensor:
    """MMD^2 of every 0/1 labelling (rows of `labels`, n ones each) of the pooled kernel matrix."""
    m = len(kernel) - n
    rows = labels @ kernel
    within_real, diagonal_real = (rows * labels).sum(dim=1), labels @ kernel.diagonal()
    across = rows.sum(dim=1) - within_real
    within_generated = kernel.sum() - within_real - 2 * across
    diagonal_generated = kernel.diagonal().sum() - diagonal_real
    return (
        (within_real - diagonal_real) / (n * (n - 1))
        + (within_generated - diagonal_generated) / (m * (m - 1))
        - 2 * across / (n * m)
    )


class KernelDistance(FundusMetric):
    """Ignite metric of `kernel_distance`, its mean over subsets, of generated (`y_pred`) and real (`y`) images.

    Args:
        feature_extractor: network or function from (B, C, H, W) images in [0, 1] to (B, d) features; a network runs in
            evaluation mode. Move it to the device of the images.
        subsets: see `kernel_distance`, as `subset_size` and `seed`.
        output_transform: must give `(y_pred, y)`; the two batches need not be equal in number.
        device: where the features are kept.

    Raises:
        ValueError: in `update`, if the extractor does not give (B, d).
        ignite.exceptions.NotComputableError: in `compute`, before any update.
    """

    def __init__(
        self,
        *,
        feature_extractor: FeatureExtractor,
        subsets: int = 100,
        subset_size: int = 1000,
        seed: int = 0,
        output_transform: OutputTransform = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.feature_extractor = feature_extractor
        self.subsets, self.subset_size, self.seed = subsets, subset_size, seed
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._generated: list[Tensor] = []
        self._real: list[Tensor] = []

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        for images, store in zip(self._plain(output), (self._generated, self._real), strict=True):
            store.append(extract_features(images, self.feature_extractor).to(self._device))

    def compute(self) -> float:
        """The figure of all batches of all processes (the same on every process)."""
        real, generated = self._gather(self._real), self._gather(self._generated)
        options = {"subsets": self.subsets, "subset_size": self.subset_size, "seed": self.seed}
        return float(kernel_distance(real, generated, **options).mean)
