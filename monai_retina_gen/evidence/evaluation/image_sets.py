"""Sets of images that evidence is taken from: photographs, samples of a generator, folders of `expand`."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import SECTIONS, Item, icdr_grade, load_datalist, read_manifest
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.data.record import verify_file
from monai_retina_gen.engines.distributed import shared_map
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd
from monai_retina_gen.transforms.expansion.folder import image_seed

from .extractor import Extractor

_LOGGER = logging.getLogger("monai_retina_gen.images")


@dataclass(frozen=True)
class ImageSet:
    """Images of one kind.

    `grades` are labels of photographs or what was asked for; `groups` the patient or photograph behind each, for an
    edit its source, `""` for a sample; `names` what each is called in a report.
    """

    images: Tensor
    grades: list[int]
    names: list[str]
    groups: list[str]

    @classmethod
    def of_items(cls, images: Sequence[Tensor], items: Sequence[Item]) -> ImageSet:
        """Photographs `(3, S, S)` uint8 of graded items of a datalist."""
        names = [os.path.basename(item["image"]) for item in items]
        groups = [str(item.get("group", item["image"])) for item in items]
        return ImageSet(torch.stack(list(images)), [icdr_grade(item) for item in items], names, groups)

    def __len__(self) -> int:
        return len(self.grades)

    @property
    def size(self) -> int:
        """Side in pixels."""
        return int(self.images.shape[-1])

    def floats(self, rows: Sequence[int] | slice = slice(None)) -> Tensor:
        """`(n, 3, S, S)` float32 in [0, 1]."""
        return self.images[rows].float() / 255

    def select(self, rows: Sequence[int]) -> ImageSet:
        """Those of the given rows."""
        images = self.images[torch.as_tensor(rows, dtype=torch.long)]
        names, groups = [self.names[i] for i in rows], [self.groups[i] for i in rows]
        return ImageSet(images, [self.grades[i] for i in rows], names, groups)

    def features(self, extractor: Extractor, batch_size: int = 32) -> Tensor:
        """`(N, d)` features."""

        def part(start: int) -> Tensor:
            return extractor(self.floats(slice(start, start + batch_size)))

        return torch.cat(shared_map(part, range(0, len(self), batch_size), desc="features", unit="batch"))


def read_section(source: str, dataset_dir: str | None = None, default: str = "validation") -> list[Item]:
    """Graded items of `DATALIST[:SECTION]`; a `DatalistError` if there are none."""
    section = section_of(source, default=default)
    name = source.removesuffix(f":{section}")
    items: list[Item] = load_datalist(name, dataset_dir, require_grade=True)[section]
    if not items:
        raise DatalistError(f"{name}: section {section} holds no graded photograph; name another as {name}:SECTION")
    return items


def section_of(source: str, *, default: str) -> str:
    """Section that `DATALIST[:SECTION]` names.

    Examples:
        >>> section_of("idrid:test", default="training"), section_of("C:/eyes.json", default="training")
        ('test', 'training')
    """
    head, _, tail = source.rpartition(":")
    return tail if head and tail in SECTIONS else default


def load_eye(item: Item, size: int, masks: Sequence[str] = ()) -> dict[str, Tensor]:
    """A photograph `(3, size, size)` in [0, 1], cropped to the field of view, under `image`; masks by their keys."""
    keys = ("image", *masks)
    # not by `Compose`, which hides what is wrong with a file behind "applying transform"
    loaded = LoadFundusd(keys="image", mask_keys=masks)({key: item[key] for key in keys})
    cropped = CropToFieldOfViewd(keys="image", mask_keys=masks, size=size)(loaded)
    return {key: plain_tensor(cropped[key]) for key in keys}


def photographs(items: Sequence[Item], size: int, what: str = "photographs") -> ImageSet:
    """Graded photographs, cropped to the field of view, at `size` pixels.

    Raises:
        DatalistError: if there are none.
        ImageValueError: for a photograph that is smaller than `size`.
    """
    if not items:
        raise DatalistError(f"{what}: no graded photographs")
    return ImageSet.of_items(shared_map(lambda item: to_bytes(load_eye(item, size)["image"]), items, desc=what), items)


def sampled_images(
    generator: RetinaGenerator, grades: Sequence[int], *, seed: int = 0, batch_size: int = 16, **options: Any
) -> ImageSet:
    """Samples of a generator, with options of its `sample`; seeds depend on `seed` and index alone, as in `expand`.

    Samples of grades that the generator lacks are left out, with a line in the log.
    """
    lacking = generator.missing_grades if options.get("curated", True) else frozenset()
    if left_out := sum(grade in lacking for grade in grades):
        _LOGGER.warning(f"{generator.name} has no image of grades {sorted(lacking)}: {left_out} samples are left out")
        grades = [grade for grade in grades if grade not in lacking]
    seeds = [image_seed(seed, index) for index in range(len(grades))]

    def part(start: int) -> Tensor:
        few = slice(start, start + batch_size)
        return to_bytes(generator.sample(grades[few], seeds=seeds[few], **options).image)

    images = shared_map(part, range(0, len(grades), batch_size), desc=f"sample {generator.name}", unit="batch")
    names = [f"grade {grade}, seed {number}" for grade, number in zip(grades, seeds, strict=True)]
    return ImageSet(torch.cat(images), [int(g) for g in grades], names, [""] * len(grades))


def generated_images(
    source: str | os.PathLike[str] | RetinaGenerator, grades: Sequence[int], *, seed: int = 0, device: str = "cpu"
) -> ImageSet:
    """The images of a folder that `expand` made, or samples of a generator or bundle for `grades`."""
    if isinstance(source, str | os.PathLike) and (Path(source) / "manifest.json").is_file():
        return expanded_images(source)
    return sampled_images(load_generator(source, device=device), grades, seed=seed)


def expanded_images(folder: str | os.PathLike[str]) -> ImageSet:
    """Images of a folder that `expand` made, each checked against its sha256.

    Raises:
        DatalistError: if the folder has no manifest, no image, images of several sizes, or a changed one.
    """
    entries = read_manifest(folder)
    if not entries:
        raise DatalistError(f"{folder}: its manifest names no image")
    for entry in entries:
        verify_file(entry)
    images = [read_image(entry["image"]) for entry in entries]
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1 or sizes[0][0] != sizes[0][1]:
        raise DatalistError(f"{folder}: square images of one size are wanted, these have {sizes[:4]}")
    names = [Path(entry["image"]).name for entry in entries]
    sources = [str(entry["record"].get("source", "")) for entry in entries]
    return ImageSet(to_bytes(torch.stack(images)), [entry["grade"] for entry in entries], names, sources)


def to_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as uint8 on the CPU, as in a file: both kinds are compared after the same rounding."""
    plain = plain_tensor(images).detach().cpu()
    return (plain * 255).round().clamp(0, 255).to(torch.uint8)
