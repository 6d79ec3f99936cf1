"""A bank of real lesions: every connected piece of every mask, with its place in the eye, for composing new masks.

Pieces are kept in the eye's own axes (from the fovea, temporal to the right, in radii of the field of view), so that
they fit right and left eyes of any size. What contradicts a photograph's grade is a false alarm and is left out.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data.atomic_file import atomic_path
from monai_retina_gen.data.combine_masks import TOGETHER
from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.eye_geometry import EyeGeometry, quadrants
from monai_retina_gen.data.eye_masks import EyeMasks, read_eye_masks
from monai_retina_gen.data.label_grades import icdr_grade
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, LESION_MASKS
from monai_retina_gen.errors import DatalistError

__all__ = ["LesionBank", "build_lesion_bank"]

Array = npt.NDArray[Any]
FORMAT = 1
UNKNOWN = -1e6  # place of a disc that is not known, where NaN is not allowed
RIM = 0.03  # radii of the field of view in which segmenters take the rim's glare and shadow for lesions
ON_DISC = 0.5  # share of a piece on the optic disc from which on it is a false alarm


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

    Examples:
        >>> from monai_retina_gen.data import write_phantoms, load_datalist
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     datalist = load_datalist(write_phantoms(folder, count=2, size=64, grades=[2], splits=(1, 0, 0)))
        ...     bank = build_lesion_bank(datalist["training"], diameter=64)
        >>> len(bank), bank.counts.shape
        (2, (2, 6, 4))
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
        """Number of eyes."""
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

    def table(self) -> dict[str, Array]:
        """A row for every piece: lesion, grade, area, quadrant, distance from the disc and from the field's middle.

        Area is in pixels at `diameter`, distances are in radii of the field of view.
        """
        return {
            "lesion": np.array(LESION_MASKS)[self.kind],
            "grade": self.grade[self.eye],
            "annotated": self.annotated[self.eye],
            "area": self.area,
            "quadrant": self.quadrant,
            "disc_distance": np.linalg.norm(self.position - self.disc[self.eye], axis=1),
            "eccentricity": np.linalg.norm(self.position - self.field[self.eye], axis=1),
        }

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
        """The bank of `state`; its eyes are numbered.

        Raises:
            DatalistError: if the tensors are not those of a bank.
        """
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
        """Read what `save` wrote.

        Raises:
            DatalistError: if there is no such file, or it is not a bank.
        """
        if not Path(path).is_file():
            raise DatalistError(f"{path}: no such lesion bank; make one with `python -m monai_retina_gen lesion-bank`")
        try:
            with np.load(path, allow_pickle=False) as stored:
                if int(stored["format"]) != FORMAT:
                    raise ValueError(f"format {int(stored['format'])}")
                arrays: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls)}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise DatalistError(f"{path} is not a lesion bank of format {FORMAT}: {error}") from error
        return cls(**{**arrays, "diameter": int(arrays["diameter"])})


def build_lesion_bank(
    items: Sequence[Item],
    *,
    predicted: Sequence[Item] = (),
    diameter: int = 512,
    min_area: int = 3,
    threshold: float = 0.5,
    progress: bool = False,
) -> LesionBank:
    """Collect the lesions of graded photographs.

    Annotated masks win (see `annotated_lesions`): predictions of lesions that were annotated are not used. Left out are
    pieces that the grade excludes (`GRADE_LESIONS`), that lie mostly on the optic disc or outside the field of view,
    predicted ones along its rim, and items without a grade.

    Args:
        items: items of a datalist with `grade` and masks (`fov`, `od` and lesions, as paths).
        predicted: items of the same photographs with predicted masks, as `segment` and `activation-maps` write them.
        diameter: of the field of view in pixels at which pieces are kept; masks of other sizes are resized.
        min_area: smallest piece in pixels at `diameter`.
        threshold: share of a pixel from which on it is inside.
        progress: show a bar.

    Raises:
        DatalistError: if no item has a grade and the mask of a lesion.
    """
    second: dict[str, Item] = {}
    for item in predicted:  # `segment` and `activation-maps` name different masks of one photograph
        second[item["image"]] = {**second.get(item["image"], {}), **item}
    graded = [item for item in items if "grade" in item]
    eyes = []
    for item in tqdm(graded, desc="lesion bank", unit="photograph", disable=not progress):
        masks = read_eye_masks(item, second.get(item["image"]), diameter=diameter, threshold=threshold)
        if masks is not None:
            eyes.append((Path(item["image"]).stem, icdr_grade(item), masks))
    if not eyes:
        raise DatalistError(
            f"no photograph with a grade and a mask of {', '.join(LESION_MASKS)} among {len(items)} items; run "
            "`python -m monai_retina_gen segment` for predicted ones"
        )
    return collect_lesions(eyes, diameter, min_area)


def collect_lesions(eyes: Sequence[tuple[str, int, EyeMasks]], diameter: int, min_area: int) -> LesionBank:
    """The bank of eyes that are in memory: name, grade and masks of each, at `diameter`."""
    pieces = [_pieces(masks, grade, min_area) for _, grade, masks in eyes]
    unknown = (np.nan, np.nan)
    middles = [np.array([m.geometry.disc or unknown, m.geometry.centre]) for _, _, m in eyes]
    axes = np.stack([m.geometry.to_eye(xy) for (_, _, m), xy in zip(eyes, middles, strict=True)])
    flat = [(number, *piece) for number, found in enumerate(pieces) for piece in found]
    sizes = [len(piece[3]) for piece in flat]
    return LesionBank(
        diameter=diameter,
        name=np.array([name for name, _, _ in eyes]),
        grade=np.array([grade for _, grade, _ in eyes], np.int64),
        annotated=np.array([not masks.annotated.isdisjoint(TOGETHER) for _, _, masks in eyes]),
        disc=axes[:, 0].astype(np.float32),
        field=axes[:, 1].astype(np.float32),
        eye=np.array([piece[0] for piece in flat], np.int64),
        kind=np.array([piece[1] for piece in flat], np.int64),
        position=np.array([piece[2] for piece in flat], np.float32).reshape(-1, 2),
        start=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
        pixels=np.concatenate([piece[3] for piece in flat] or [np.zeros((0, 2))]).astype(np.int16),
    )


def _pieces(masks: EyeMasks, grade: int, min_area: int) -> list[tuple[int, Array, Array]]:
    """Lesion, middle in the eye's axes and pixel offsets of every piece that the grade allows."""
    found = []
    middle = _without_rim(masks.field, RIM * masks.geometry.radius)  # predictions along the rim are false alarms
    for name in GRADE_LESIONS[grade]:
        # Membranes often start at the disc; everything else on it is the disc's own brightness or vessels.
        off_limits = np.zeros_like(masks.field) if name == "membrane" else masks.disc
        field = masks.field if name in masks.annotated else middle
        for where in _components(masks.lesions.get(name)):
            inside = field[where[:, 1], where[:, 0]].mean()
            if len(where) >= min_area and inside > 0.5 and off_limits[where[:, 1], where[:, 0]].mean() <= ON_DISC:
                found.append((LESION_MASKS.index(name), *_normalised(where, masks.geometry)))
    return found


def _without_rim(field: Array, width: float) -> Array:
    bordered = np.pad(field, 1)  # the frame's border is a rim too, where it cuts the field
    return np.asarray(ndimage.distance_transform_edt(bordered)[1:-1, 1:-1] > width)


def _components(mask: Array | None) -> list[Array]:
    """Pixels (N, 2), as x and y, of every 8-connected piece."""
    if mask is None:
        return []
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    rows, columns = np.nonzero(labels)
    order = np.argsort(labels[rows, columns], kind="stable")
    sizes = np.bincount(labels[rows, columns], minlength=count + 1)[1:]
    return np.split(np.stack([columns, rows], 1)[order], np.cumsum(sizes)[:-1]) if count else []


def _normalised(where: Array, eye: EyeGeometry) -> tuple[Array, Array]:
    middle = np.round(where.mean(0))
    offsets = (where - middle) * np.array([eye.temporal, 1])
    return eye.to_eye(middle[None] + 0.5)[0], offsets


def counts_by_lesion(counts: Array) -> Mapping[str, Array]:
    """Counts `(lesions, 4)` of one eye by name of the lesion, as `rule_violation` takes them."""
    return dict(zip(LESION_MASKS, counts, strict=True))
