"""Phantoms as a torch data set, drawn when they are asked for, and as files with a datalist in MONAI's form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from tqdm import tqdm

from monai_retina_gen.data.datalist_format import SECTIONS, make_datalist
from monai_retina_gen.data.files import write_json
from monai_retina_gen.data.image_io import write_image, write_mask

from .fundus import MASKS, phantom_fundus

SEEDS_PER_BASE = 2**32
DESCRIPTION = "Procedural phantoms drawn by monai_retina_gen from seeds: not photographs, of no patient."


def phantom_seed(seed: int, index: int) -> int:
    """Seed of the phantom at `index` under a base seed; different base seeds share no phantom.

    Examples:
        >>> phantom_seed(0, 5), phantom_seed(1, 5)
        (5, 4294967301)
    """
    return seed * SEEDS_PER_BASE + index


class PhantomDataset(Dataset[dict[str, Any]]):
    """Phantom fundi as dictionary items: `image`, `grade`, `group`, and the masks where wanted.

    Args:
        length: number of phantoms.
        size: width and height in pixels.
        seed: base seed; data sets of different base seeds share no phantom.
        grades: grades taken in turn, e.g. `range(5)` for equally many of each; None draws every grade with
            the frequencies of IDRiD's training split.
        masks: whether items hold the masks, under their names.

    Raises:
        ValueError: for a length below 1, an empty `grades` or a grade outside 0-4.

    Examples:
        >>> item = PhantomDataset(length=10, size=32, grades=range(5))[7]
        >>> item["image"].shape, item["grade"], item["group"]
        (torch.Size([3, 32, 32]), 2, 'phantom/7')
    """

    def __init__(
        self, *, length: int, size: int = 128, seed: int = 0, grades: Sequence[int] | None = None, masks: bool = False
    ) -> None:
        if not 1 <= length <= SEEDS_PER_BASE:
            raise ValueError(f"length is {length}; a phantom data set has 1 to 2**32 items")
        if seed < 0:
            raise ValueError(f"seed is {seed}; the base seed is a whole number from 0")
        if grades is not None and (not len(grades) or any(grade not in range(5) for grade in grades)):
            raise ValueError(f"grades is {grades!r}; give at least one of 0, 1, 2, 3, 4, or None to draw them")
        self.length, self.size, self.seed, self.masks = length, size, seed, masks
        self.grades = None if grades is None else tuple(grades)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw the phantom at `index`; negative indices count from the end."""
        if not -self.length <= index < self.length:
            raise IndexError(f"index {index} in a phantom data set of {self.length}")
        index %= self.length
        grade = None if self.grades is None else self.grades[index % len(self.grades)]
        phantom = phantom_fundus(phantom_seed(self.seed, index), grade=grade, size=self.size)
        item = {"image": phantom.image, "grade": phantom.grade, "group": f"phantom/{phantom.seed}"}
        return {**item, **phantom.masks} if self.masks else item


def write_phantoms(
    folder: str | os.PathLike[str],
    *,
    count: int,
    size: int = 256,
    seed: int = 0,
    splits: Sequence[float] = (0.7, 0.1, 0.2),
    grades: Sequence[int] | None = None,
    masks: bool = True,
) -> Path:
    """Write phantom fundi as PNG files with a datalist; with the same libraries equal arguments give equal bytes.

    Args:
        folder: where `images/`, `masks/<name>/` and `datalist.json` are written; made where absent.
        count: number of phantoms.
        size: width and height in pixels.
        seed: base seed, as in `PhantomDataset`.
        splits: shares of training, validation and test, adding up to 1.
        grades: grades taken in turn, as in `PhantomDataset`.
        masks: whether masks are written: 8 bits grey, 255 for a pixel that is wholly covered.

    Returns:
        Path of `datalist.json`; its paths are relative to the folder. Empty sections, which MONAI does not read, are
        left out.

    Raises:
        ValueError: where `splits` are not three shares that add up to 1, and as in `PhantomDataset`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_phantoms(folder, count=2, size=32, masks=False).name
        'datalist.json'
    """
    if len(splits) != len(SECTIONS) or min(splits) < 0 or abs(sum(splits) - 1) > 1e-6:
        raise ValueError(f"splits is {splits!r}; give three shares for {', '.join(SECTIONS)} that add up to 1")
    bounds = [round(count * share) for share in (0, splits[0], splits[0] + splits[1], 1)]
    dataset = PhantomDataset(length=count, size=size, seed=seed, grades=grades, masks=masks)
    root = Path(folder)
    for subfolder in ("images", *(f"masks/{mask}" for mask in MASKS if masks)):
        (root / subfolder).mkdir(parents=True, exist_ok=True)
    items = [_write_item(root, dataset[index]) for index in tqdm(range(count), desc="phantoms", unit="image")]
    sections = {s: items[a:b] for s, a, b in zip(SECTIONS, bounds[:-1], bounds[1:], strict=True)}
    datalist = make_datalist(
        sections, name="phantom fundus", description=DESCRIPTION, licence="CC0-1.0", patients_known=True
    )
    path = root / "datalist.json"
    write_json({key: value for key, value in datalist.items() if value}, path)
    return path


def _write_item(root: Path, item: dict[str, Any]) -> dict[str, Any]:
    """Write one phantom's files; returns its entry in the datalist."""
    name = item["group"].replace("/", "_") + ".png"
    entry = {"image": f"images/{name}", "grade": item["grade"], "group": item["group"]}
    write_image(root / entry["image"], item["image"])
    for mask in MASKS:
        if mask in item:
            entry[mask] = f"masks/{mask}/{name}"
            write_mask(root / entry[mask], item[mask])
    return entry
