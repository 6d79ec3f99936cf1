"""Who labels the candidates of a curation: one or several graders behind one method, their probabilities averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge, load_grader

__all__ = ["GradeJudge", "GraderEnsemble", "resolve_graders"]


@runtime_checkable
class GradeJudge(Protocol):
    """Anything that gives probabilities of grades."""

    name: str

    def probabilities(self, images: Tensor, groups: Sequence[str | None] | None = None) -> Tensor:
        """`(B, grades)` probabilities, on the CPU, of `(B, 3, S, S)` images in [0, 1].

        `groups`: the photograph that each image is, where it is one; cross-fitted graders judge it out of fold.
        """
        ...

    def as_dict(self) -> list[dict[str, Any]]:
        """The networks behind it, as plain values: name, sha256 of the weights, image size, whether cross-fitted."""
        ...


class GraderEnsemble:
    """Graders whose probabilities are averaged.

    Args:
        graders: at least one; each sees the images at the size that it was trained on.

    Raises:
        ValueError: without a grader.

    Examples:
        >>> class Flat(torch.nn.Module):
        ...     def forward(self, image):
        ...         return torch.zeros(len(image), 5)
        >>> GraderEnsemble([GraderJudge(Flat(), name="flat")]).probabilities(torch.rand(2, 3, 8, 8))[0, 0].item()
        0.2000...
    """

    def __init__(self, graders: Sequence[GraderJudge]) -> None:
        if not graders:
            raise ValueError("graders is empty: name at least one, such as retina_grader:cross_fitted")
        self.graders = list(graders)
        self.name = " + ".join(grader.name for grader in graders)

    def probabilities(self, images: Tensor, groups: Sequence[str | None] | None = None) -> Tensor:
        """See `GradeJudge`."""
        return torch.stack([grader.probabilities(images, groups) for grader in self.graders]).mean(0)

    def as_dict(self) -> list[dict[str, Any]]:
        """See `GradeJudge`."""
        return [g.as_dict() for g in self.graders]


def resolve_graders(graders: Sequence[str] | GradeJudge, device: str = "cpu") -> GradeJudge:
    """Bundles by name or folder as one judge; a judge is returned as it is."""
    if isinstance(graders, GradeJudge):
        return graders
    return GraderEnsemble([load_grader(name, device) for name in graders])
