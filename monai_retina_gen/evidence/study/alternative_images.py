"""Images that replace photographs in the arms of a study, and which photograph each may replace."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .photographs import Photographs

__all__ = ["Alternatives", "Bank", "LesionChange", "rows_by_grade", "rows_by_source", "to_be_edited"]


@dataclass(frozen=True)
class LesionChange:
    """What a painted edit changed: row of the photograph, seed, lesions before and after, `(4, S, S)` uint8, sparse."""

    row: int
    seed: int
    own: Tensor
    wanted: Tensor


@dataclass(frozen=True)
class Alternatives:
    """Images that may replace photographs.

    Args:
        images: `(M, 3, S, S)` uint8.
        grades: what each is of.
        rows: for each photograph the rows of `images` that may replace it; empty where it is never replaced.
        tried: images that were wanted; those that were refused are not among `images`.
        changes: what painting changed for each of `images`, where it did.
        sources: row of the photograph that each of `images` was made of; empty where they are of none.
    """

    images: Tensor
    grades: list[int]
    rows: list[Tensor]
    tried: int
    changes: Sequence[LesionChange] = ()
    sources: Sequence[int] = ()

    def keep(self, accepted: Sequence[bool]) -> Alternatives:
        """Those of the images that were accepted, one truth value each."""
        kept = [row for row, good in enumerate(accepted) if good]
        place = torch.full((len(self.images),), -1)
        place[kept] = torch.arange(len(kept))
        rows = [found[found >= 0] for found in (place[each] for each in self.rows)]
        return Alternatives(
            self.images[kept],
            [self.grades[row] for row in kept],
            rows,
            self.tried,
            [self.changes[row] for row in kept] if self.changes else (),
            [self.sources[row] for row in kept] if self.sources else (),
        )

    def mixed(self, others: Alternatives) -> Alternatives:
        """Both together; a photograph that either may replace is replaced by each half of the time.

        Examples:
            >>> image, rows = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [torch.tensor([0])]
            >>> one, two = (Alternatives(image.expand(n, -1, -1, -1), [2] * n, [torch.arange(n)], n) for n in (1, 2))
            >>> one.mixed(two).rows[0].tolist()
            [0, 0, 1, 2]
        """
        first = len(self.images)
        rows = [
            torch.cat([own.repeat(max(len(other), 1)), (other + first).repeat_interleave(max(len(own), 1))])
            for own, other in zip(self.rows, others.rows, strict=True)
        ]
        images, grades = torch.cat([self.images, others.images]), [*self.grades, *others.grades]
        return Alternatives(images, grades, rows, self.tried + others.tried, (), [*self.sources, *others.sources])

    def only_where(self, others: Alternatives) -> Alternatives:
        """The same for those photographs alone that `others` replaces too."""
        rows = [own if len(other) else own[:0] for own, other in zip(self.rows, others.rows, strict=True)]
        return replace(self, rows=rows)


@dataclass(frozen=True)
class Bank:
    """Generated images at the study's size: `images` `(M, 3, S, S)` uint8 and their grades."""

    images: Tensor
    grades: list[int]


def rows_by_grade(grades: Sequence[int], photographs: Photographs) -> list[Tensor]:
    """For each photograph all images of its grade; a grade that a generator lacks stays real."""
    given = torch.tensor(grades, dtype=torch.long)
    return [torch.nonzero(given == grade).flatten() for grade in photographs.grades]


def rows_by_source(sources: Sequence[int], count: int) -> list[Tensor]:
    """For each of `count` photographs the images that were made from it."""
    given = torch.tensor(sources, dtype=torch.long)
    return [torch.nonzero(given == row).flatten() for row in range(count)]


def to_be_edited(photographs: Photographs, grades: Collection[int], number: int) -> list[int]:
    """Rows of the photographs of some grades, each as often as makes at least `number` images of its grade."""
    times = {g: -(-number // photographs.grades.count(g)) for g in set(photographs.grades)}
    return [row for row, grade in enumerate(photographs.grades) if grade in grades for _ in range(times[grade])]
