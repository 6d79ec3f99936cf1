"""Photographs decoded once and kept in memory, as 8 bits like the files that generated images come from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import GRADE_MAPS, Item
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd

__all__ = ["Photographs", "load_photographs", "to_bytes"]


@dataclass(frozen=True)
class Photographs:
    """Photographs of a section.

    Args:
        images: `(N, 3, S, S)` uint8.
        labels: `(N,)` int64, what graders learn: the grade, or the grade through a grade map.
        grades: grades 0-4, which generators know.
        items: the datalist's items, in the same order.
    """

    images: Tensor
    labels: Tensor
    grades: list[int]
    items: list[Item]

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.items)

    @property
    def groups(self) -> list[str]:
        """Patient or photograph that each belongs to."""
        return [str(item["group"]) for item in self.items]

    @property
    def names(self) -> list[str]:
        """File names, without folders: a result says nothing of the machine it was made on."""
        return [os.path.basename(item["image"]) for item in self.items]

    @property
    def float_images(self) -> Tensor:
        """`(N, 3, S, S)` float32 in [0, 1]."""
        return self.images.float() / 255

    def select(self, rows: Sequence[int]) -> Photographs:
        """Those of the given rows."""
        index = torch.as_tensor(rows, dtype=torch.long)
        return Photographs(
            self.images[index], self.labels[index], [self.grades[i] for i in rows], [self.items[i] for i in rows]
        )

    def digest(self) -> str:
        """sha256 of pixels and labels."""
        return hashlib.sha256(self.images.numpy().tobytes() + self.labels.numpy().tobytes()).hexdigest()


def load_photographs(items: Sequence[Item], size: int, grade_map: str | None, what: str) -> Photographs:
    """Load graded photographs, cropped to the field of view.

    Args:
        items: items with `image`, `grade` and `group`.
        size: side of the images in pixels.
        grade_map: name in `GRADE_MAPS`, or None.
        what: name of the section, for the progress bar and errors.

    Raises:
        DatalistError: no items.
    """
    if not items:
        raise DatalistError(f"{what}: no graded photographs; a study needs some in every section")
    load, crop = LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=size)
    paths = tqdm([item["image"] for item in items], desc=what, leave=False)
    # not by `Compose`, which hides what is wrong with a file behind "applying transform"
    images = torch.stack([to_bytes(crop(load({"image": path}))["image"]) for path in paths])
    grades = [int(item["grade"]) for item in items]
    labels = [grade if grade_map is None else GRADE_MAPS[grade_map][grade] for grade in grades]
    return Photographs(images, torch.tensor(labels), grades, list(items))


def to_bytes(image: Tensor) -> Tensor:
    """Images in [0, 1] as uint8, rounded as in a file."""
    return (torch.as_tensor(image).as_subclass(Tensor).detach().cpu() * 255).round().clamp(0, 255).to(torch.uint8)
