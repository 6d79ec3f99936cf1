"""Images that replace photographs in the arms of a study, and their files, for every process and every start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data.files import atomic_path

from .photographs import Photographs


@dataclass(frozen=True)
class LesionChange:
    """What a painted edit changed: row of the photograph, seed, lesions before and after, `(4, S, S)` uint8, sparse."""

    row: int
    seed: int
    own: Tensor
    wanted: Tensor


@dataclass(frozen=True)
class Alternatives:
    """Images that may replace photographs."""

    images: Tensor  # (M, 3, S, S) uint8
    grades: list[int]  # what each is of
    rows: list[Tensor]  # for each photograph the rows of `images` that may replace it; empty where it stays
    tried: int  # images that were wanted; those that were refused are not among `images`
    changes: Sequence[LesionChange] = ()  # what painting changed for each of `images`, where it did
    sources: Sequence[int] = ()  # row of the photograph that each was made of; empty where they are of none

    def keep(self, accepted: Sequence[bool]) -> Alternatives:
        """Those of the images that were accepted, one truth value each."""
        kept = [row for row, good in enumerate(accepted) if good]
        place = torch.full((len(self.images),), -1)
        place[kept] = torch.arange(len(kept))
        rows = [found[found >= 0] for found in (place[each] for each in self.rows)]
        changes = [self.changes[row] for row in kept] if self.changes else ()
        sources = [self.sources[row] for row in kept] if self.sources else ()
        grades = [self.grades[row] for row in kept]
        return Alternatives(self.images[kept], grades, rows, self.tried, changes, sources)

    def mixed(self, others: Alternatives) -> Alternatives:
        """Both together; a photograph that either may replace is replaced by each half of the time."""
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


def write_made(made: Alternatives, path: Path) -> None:
    """Write what was made for an arm."""
    arrays: dict[str, Any] = {
        "images": made.images.numpy(),
        "grades": np.array(made.grades, np.int64),
        "rows": torch.cat(made.rows).numpy(),
        "lengths": np.array([len(rows) for rows in made.rows], np.int64),
        "tried": np.array(made.tried),
        "sources": np.array(made.sources, np.int64),
        "seeds": np.array([change.seed for change in made.changes], np.int64),
    }
    for side in ("own", "wanted"):
        arrays |= _sparse([getattr(change, side) for change in made.changes], side)
    _write(arrays, path)


def read_made(path: Path) -> Alternatives:
    """Read what `write_made` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    rows = torch.from_numpy(arrays["rows"]).split(arrays["lengths"].tolist())
    size = arrays["images"].shape[-1]
    sides = [_dense(arrays, side, (4, size, size)) for side in ("own", "wanted")]
    sources, seeds = arrays["sources"].tolist(), arrays["seeds"].tolist()
    changes = [LesionChange(*each) for each in zip(sources if seeds else [], seeds, *sides, strict=True)]
    images, grades = torch.from_numpy(arrays["images"]), arrays["grades"].tolist()
    return Alternatives(images, grades, list(rows), int(arrays["tried"]), changes, sources)


def write_bank(bank: Bank, path: Path) -> None:
    """Write images at the study's size, which the folder of their files has at their own."""
    _write({"images": bank.images.numpy(), "grades": np.array(bank.grades, np.int64)}, path)


def read_bank(path: Path) -> Bank:
    """Read what `write_bank` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Bank(torch.from_numpy(stored["images"]), stored["grades"].tolist())


def _write(arrays: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def _sparse(planes: Sequence[Tensor], name: str) -> dict[str, Any]:
    each = [plane.coalesce() for plane in planes]
    index = [plane.indices().numpy() for plane in each] or [np.zeros((3, 0))]
    values = [plane.values().numpy() for plane in each] or [np.zeros(0)]
    return {
        f"{name}_index": np.concatenate(index, 1).astype(np.int16),
        f"{name}_values": np.concatenate(values).astype(np.uint8),
        f"{name}_counts": np.array([len(plane.values()) for plane in each], np.int64),
    }


def _dense(arrays: dict[str, Any], name: str, shape: tuple[int, ...]) -> list[Tensor]:
    ends = np.cumsum(arrays[f"{name}_counts"])
    if not len(ends):
        return []
    index, values = (np.split(arrays[f"{name}_{part}"], ends[:-1], axis=-1) for part in ("index", "values"))
    pairs = ((torch.from_numpy(i.astype(np.int64)), torch.from_numpy(v)) for i, v in zip(index, values, strict=True))
    return [torch.sparse_coo_tensor(i, v, shape, check_invariants=True) for i, v in pairs]
