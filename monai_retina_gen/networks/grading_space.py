"""Grading space: a normal distribution of grader features for every grade, from which DR-GAN draws its grade codes.

Source: Zhou et al. (DR-GAN), "grading vectors": mean and variance of ResNet-50 features per grade give five normal
distributions. Beyond the paper's diagonal, `rank` keeps the directions in which features of a grade vary most.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.latents import latents_from_seeds


class GradingSpace(nn.Module):
    """Normal distributions `N(mean_g, diag(std_g^2) + factor_g^T factor_g)` of features, one a grade.

    `rank` directions of the covariance are kept besides the diagonal; 0 is the paper's. `mean` and `std` (what these do
    not explain) are `(num_classes, dimension)`, `factor` `(num_classes, rank, dimension)`, `count` the photographs
    behind each grade: one with fewer than two cannot be drawn from.

    Examples:
        >>> features, grades = torch.randn(40, 8) + 3, torch.arange(40) % 2
        >>> space = GradingSpace(dimension=8, num_classes=2, rank=1)
        >>> space.fit(features, grades)
        >>> space.sample([0, 1, 1], seeds=[7, 8, 9]).shape
        torch.Size([3, 8])
    """

    mean: Tensor
    std: Tensor
    factor: Tensor
    count: Tensor

    def __init__(self, *, dimension: int, num_classes: int = 5, rank: int = 0) -> None:
        super().__init__()
        if dimension < 1 or num_classes < 1 or not 0 <= rank < dimension:
            raise ValueError(
                f"dimension={dimension}, num_classes={num_classes}, rank={rank}: want positive numbers and a rank "
                "below the dimension"
            )
        self.dimension, self.num_classes, self.rank = dimension, num_classes, rank
        self.register_buffer("mean", torch.zeros(num_classes, dimension))
        self.register_buffer("std", torch.ones(num_classes, dimension))
        self.register_buffer("factor", torch.zeros(num_classes, rank, dimension))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def fit(self, features: Tensor, grades: Tensor) -> None:
        """Fit all grades to features `(n, dimension)` of real photographs; grades with fewer than two stay unfitted.

        `ValueError` for other shapes, values that are not finite, or grades outside the range.
        """
        if features.shape != (len(grades), self.dimension) or not bool(features.isfinite().all()):
            raise ValueError(f"features {tuple(features.shape)}: want finite ({len(grades)}, {self.dimension})")
        if len(grades) and not 0 <= int(grades.min()) <= int(grades.max()) < self.num_classes:
            raise ValueError(
                f"grades from {int(grades.min())} to {int(grades.max())}: want 0 to {self.num_classes - 1}"
            )
        self.count.copy_(torch.bincount(grades.cpu(), minlength=self.num_classes))
        for grade in range(self.num_classes):
            if self.count[grade] >= 2:
                self._fit_one(grade, features[grades == grade].double())

    def _fit_one(self, grade: int, features: Tensor) -> None:
        centred = features - features.mean(0)
        # A rank above n - 1 has no more directions: the others stay 0.
        _, lengths, directions = torch.linalg.svd(centred, full_matrices=False)
        kept = (lengths[:, None] * directions)[: self.rank] / (len(features) - 1) ** 0.5
        unexplained = centred.square().sum(0) / (len(features) - 1) - kept.square().sum(0)
        self.mean[grade], self.std[grade] = features.mean(0), unexplained.clamp(min=0).sqrt()
        self.factor[grade] = 0
        self.factor[grade, : len(kept)] = kept.to(self.factor)

    def covariance(self, grade: int) -> Tensor:
        """Covariance `(dimension, dimension)` of a grade's distribution."""
        return torch.diag(self.std[grade].square()) + self.factor[grade].T @ self.factor[grade]

    def sample(self, grades: Sequence[int] | Tensor, *, seeds: Sequence[int]) -> Tensor:
        """One feature vector `(n, dimension)` for every grade, of its grade and seed alone, on any device.

        `ValueError` for unequal numbers, grades outside the range, or a grade that was not fitted.
        """
        wanted = [int(grade) for grade in grades]
        if len(wanted) != len(seeds) or any(not 0 <= grade < self.num_classes for grade in wanted):
            raise ValueError(
                f"{len(wanted)} grades and {len(seeds)} seeds: want one seed each, and grades from 0 to "
                f"{self.num_classes - 1}"
            )
        missing = sorted({grade for grade in wanted if self.count[grade] < 2})
        if missing:
            raise ValueError(f"grades {missing} had fewer than two photographs: fit the space on data that has them")
        index = torch.tensor(wanted, device=self.mean.device)
        return self.from_normal(latents_from_seeds(seeds, self.numbers).to(self.mean.device), index)

    @property
    def numbers(self) -> int:
        """Standard normal numbers that one vector is made of."""
        return self.dimension + self.rank

    def from_normal(self, normal: Tensor, grades: Tensor) -> Tensor:
        """Feature vectors of standard normal numbers `(n, numbers)`, unchecked; zeros give the grade's mean."""
        own, shared = normal.split([self.dimension, self.rank], 1)
        along = torch.einsum("nr,nrd->nd", shared, self.factor[grades])
        return self.mean[grades] + self.std[grades] * own + along
