"""A bank of real lesions: every connected piece of every mask, with its place in the eye, for composing new masks.

Pieces are kept in the eye's own axes (from the fovea, temporal to the right, in radii of the field of view), so that
they fit right and left eyes of any size.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_retina_gen.data.eye_geometry import quadrants
from monai_retina_gen.data.files import atomic_path
from monai_retina_gen.data.lesion_rules import LESION_MASKS
from monai_retina_gen.errors import DatalistError

Array = npt.NDArray[Any]
FORMAT = 1
UNKNOWN = -1e6  # place of a disc that is not known, where NaN is not allowed


@dataclass(frozen=True, eq=False)
class LesionBank:
    """Lesions of E eyes in C connected pieces of P pixels.

    Attributes:
        diameter: of the field of view in pixels, at which the pieces are stored.
        name: (E,) name of each photograph.
        grade: (E,) its grade 0-4.
        annotated: (E,) whether its lesions were annotated; otherwise they were predicted.
        disc: (E, 2) its optic disc in the eye's axes (see `EyeGeometry.to_eye`); NaN where unknown.
        field: (E, 2) centre of its field of view in the eye's axes.
        eye: (C,) photograph of each piece.
        kind: (C,) its lesion, a number in `LESION_MASKS`.
        position: (C, 2) float32, its middle in the eye's axes.
        start: (C + 1,) where its pixels begin.
        pixels: (P, 2) int16, offsets (x temporal, y down) from its middle.
    """

    diameter: int
    name: Array
    grade: Array
    annotated: Array
    disc: Array
    field: Array
    eye: Array
    kind: Array
    position: Array
    start: Array
    pixels: Array

    def __len__(self) -> int:
        return len(self.grade)

    @cached_property
    def area(self) -> Array:
        """(C,) pixels of each piece at `diameter`."""
        return np.diff(self.start)

    @cached_property
    def quadrant(self) -> Array:
        """(C,) quadrant of each piece, a number in `QUADRANTS`."""
        return quadrants(self.position)

    @cached_property
    def counts(self) -> Array:
        """(E, lesions, 4) pieces of every eye by lesion and quadrant."""
        shape = (len(self), len(LESION_MASKS), 4)
        flat = np.ravel_multi_index((self.eye, self.kind, self.quadrant), shape)
        return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)

    @cached_property
    def pieces(self) -> dict[tuple[int, int, int], Array]:
        """Rows of the pieces by eye, lesion and quadrant, as far as there are any."""
        shape = (len(self), len(LESION_MASKS), 4)
        key = np.ravel_multi_index((self.eye, self.kind, self.quadrant), shape)
        order = np.argsort(key, kind="stable")
        found, first = np.unique(key[order], return_index=True)
        places = zip(*(column.tolist() for column in np.unravel_index(found, shape)), strict=True)
        return dict(zip(places, np.split(order, first[1:]), strict=True))

    @classmethod
    def joined(cls, banks: Sequence[LesionBank]) -> LesionBank:
        """The eyes of several banks of one diameter, at least one, in their order."""
        arrays: dict[str, Any] = {
            f.name: np.concatenate([getattr(bank, f.name) for bank in banks])
            for f in fields(cls)
            if f.name != "diameter"
        }
        eyes = np.cumsum([0, *(len(bank) for bank in banks)])
        arrays["eye"] = np.concatenate([bank.eye + first for bank, first in zip(banks, eyes, strict=False)])
        arrays["start"] = starts(np.concatenate([bank.area for bank in banks]))
        return cls(diameter=banks[0].diameter, **arrays)

    def only(self, keep: Array) -> LesionBank:
        """The same eyes with some of their pieces; `keep` is (C,), bool."""
        pixels = np.repeat(keep, self.area)
        chosen = {name: getattr(self, name)[keep] for name in ("eye", "kind", "position")}
        return replace(self, **chosen, start=starts(self.area[keep]), pixels=self.pixels[pixels])

    def summary(self) -> str:
        """A line for every grade: its eyes, and per lesion the median number and area of an eye's pieces."""
        lines = []
        for grade in np.unique(self.grade):
            rows = np.flatnonzero(self.grade == grade)
            parts = [f"grade {grade}: {len(rows)} eyes, {int(self.annotated[rows].sum())} annotated"]
            for number, name in enumerate(LESION_MASKS):
                pieces = (self.kind == number) & np.isin(self.eye, rows)
                if pieces.any():
                    each = np.median(self.counts[rows, number].sum(1))
                    parts.append(f"{name} {each:g} x {np.median(self.area[pieces]):g} px")
            lines.append("; ".join(parts))
        return "\n".join(lines)

    def digest(self) -> str:
        """sha256 of its content."""
        digest = hashlib.sha256(str(self.diameter).encode())
        for field in fields(self)[1:]:
            digest.update(np.ascontiguousarray(getattr(self, field.name)).tobytes())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bank as a compressed `.npz` file without pickles; equal banks give equal bytes."""
        arrays: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(file, format=np.asarray(FORMAT), **arrays)

    def state(self) -> dict[str, Tensor]:
        """The bank as tensors, for a bundle's `models/`; names of photographs stay out."""
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self) if f.name != "name"}
        arrays["disc"] = np.nan_to_num(self.disc, nan=UNKNOWN)
        return {"format": torch.tensor(FORMAT), **{key: torch.from_numpy(a.copy()) for key, a in arrays.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> LesionBank:
        """The bank of `state`, its eyes numbered; `DatalistError` if the tensors are not those of a bank."""
        wanted = {f.name for f in fields(cls)} - {"name"} | {"format"}
        if set(state) != wanted or int(state["format"]) != FORMAT:
            raise DatalistError(
                f"tensors {sorted(state)[:12]} are not a lesion bank of format {FORMAT}, which has {sorted(wanted)}"
            )
        arrays: dict[str, Any] = {key: state[key].numpy() for key in wanted - {"format"}}
        arrays["disc"] = np.where(arrays["disc"] == UNKNOWN, np.nan, arrays["disc"]).astype(np.float32)
        names = np.array([f"eye {i}" for i in range(len(arrays["grade"]))])
        return cls(**{**arrays, "name": names, "diameter": int(arrays["diameter"])})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LesionBank:
        """Read what `save` wrote; `DatalistError` if there is no such file, or it is not a bank."""
        if not Path(path).is_file():
            raise DatalistError(f"{path}: no such lesion bank; make one with `monai-retina-gen model lesion-bank`")
        try:
            with np.load(path, allow_pickle=False) as stored:
                if int(stored["format"]) != FORMAT:
                    raise ValueError(f"format {int(stored['format'])}")
                arrays: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls)}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise DatalistError(f"{path} is not a lesion bank of format {FORMAT}: {error}") from error
        return cls(**{**arrays, "diameter": int(arrays["diameter"])})


def counts_by_lesion(counts: Array) -> Mapping[str, Array]:
    """Counts `(lesions, 4)` of one eye by name of the lesion, as `rule_violation` takes them."""
    return dict(zip(LESION_MASKS, counts, strict=True))


def starts(sizes: Sequence[int] | Array) -> Array:
    """Where pieces of these sizes begin, one behind the other, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
