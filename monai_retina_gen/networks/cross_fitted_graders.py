"""Cross-fitted graders: networks that judge photographs which they were not trained on.

A network recognises photographs that it was trained on. So gate and label check use a set of networks, one a fold, and
each photograph, with everything that was made of it, is judged only by the one that never saw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class CrossFittedGraders(nn.Module):
    """Graders of all folds; a photograph is graded by the one that never saw it, another image by all.

    Args:
        graders: network of fold i at place i, trained without that fold; logits `(B, grades)`.
        folds: fold by group, as `fold_of_group` gave it.
        temperature: divisor of the logits, from `fit_temperature` on out-of-fold predictions.

    Raises:
        ValueError: without a grader for each fold, or for a temperature that is not positive.

    Examples:
        >>> class Says(nn.Module):
        ...     def __init__(self, grade):
        ...         super().__init__()
        ...         self.grade = grade
        ...     def forward(self, image):
        ...         return 9.0 * torch.eye(5)[[self.grade] * len(image)]
        >>> graders = CrossFittedGraders(graders=[Says(0), Says(1)], folds={"a": 0, "b": 1})
        >>> graders(torch.zeros(3, 3, 8, 8), ["a", "b", None]).argmax(1).tolist()[:2]
        [0, 1]
    """

    def __init__(self, *, graders: Sequence[nn.Module], folds: Mapping[str, int], temperature: float = 1.0) -> None:
        super().__init__()
        if not graders or not set(folds.values()) <= set(range(len(graders))) or not temperature > 0:
            raise ValueError(
                f"{len(graders)} graders for the folds {sorted(set(folds.values()))}, temperature={temperature}: "
                "want one grader a fold, and a positive temperature"
            )
        self.graders, self.folds, self.temperature = nn.ModuleList(graders), dict(folds), temperature

    def forward(self, image: Tensor, groups: Sequence[str | None] | None = None) -> Tensor:
        """Probabilities `(B, grades)` of images `(B, 3, H, W)` in [0, 1].

        `groups` are those of the photographs that images are, or were made from; None, or a group of no fold, is an
        image of no photograph: the mean of all graders. Without `groups` that holds for all images.
        """
        groups = [None] * len(image) if groups is None else groups
        if len(groups) != len(image):
            raise ValueError(f"{len(groups)} groups for {len(image)} images: give one each")
        judges = [{self.folds[group]} if group in self.folds else set(range(len(self.graders))) for group in groups]
        total: Tensor | None = None
        for fold, grader in enumerate(self.graders):
            rows = [i for i, judge in enumerate(judges) if fold in judge]
            if rows:
                share = image.new_tensor([1 / len(judges[i]) for i in rows], dtype=torch.float32)
                part = torch.softmax(grader(image[rows]).float() / self.temperature, 1) * share[:, None]
                total = part.new_zeros(len(image), part.shape[1]) if total is None else total
                total.index_add_(0, torch.tensor(rows, device=part.device), part)
        if total is None:
            raise ValueError("image holds no image: want (B, 3, H, W) with B of at least 1")
        return total
