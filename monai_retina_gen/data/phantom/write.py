"""Phantoms as files: PNG images and masks with a datalist in MONAI's form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_retina_gen.data.datalist_format import SECTIONS, make_datalist
from monai_retina_gen.data.image_io import write_image, write_mask
from monai_retina_gen.data.synthetic import write_json

from .dataset import PhantomDataset
from .fundus import MASKS

__all__ = ["write_phantoms"]

DESCRIPTION = "Procedural phantoms drawn by monai_retina_gen from seeds: not photographs, of no patient."


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
    """Write phantom fundi as PNG files with a datalist.

    Each file appears whole or not at all; files of the same name are replaced, and equal arguments give equal
    bytes with the same library versions.

    Args:
        folder: where `images/`, `masks/<name>/` and `datalist.json` are written; made where absent.
        count: number of phantoms.
        size: width and height in pixels.
        seed: base seed, as in `PhantomDataset`.
        splits: shares of training, validation and test, adding up to 1.
        grades: grades taken in turn, as in `PhantomDataset`.
        masks: whether masks are written: 8 bits grey, 255 for a pixel that is wholly covered.

    Returns:
        Path of `datalist.json`: sections `training`, `validation` and `test` (an empty one is left out, since
        MONAI does not read it) of items with `image`, `grade`, `group` and the masks' names; paths are
        relative to the folder.

    Raises:
        ValueError: where `splits` are not three shares that add up to 1, and as in `PhantomDataset`.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_phantoms(folder, count=2, size=32, masks=False).name
        'datalist.json'
    """
    bounds = _section_bounds(count, splits)
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


def _section_bounds(count: int, splits: Sequence[float]) -> list[int]:
    """First index of each section, and the count."""
    if len(splits) != len(SECTIONS) or min(splits) < 0 or abs(sum(splits) - 1) > 1e-6:
        raise ValueError(f"splits is {splits!r}; give three shares for {', '.join(SECTIONS)} that add up to 1")
    return [round(count * share) for share in (0, splits[0], splits[0] + splits[1], 1)]


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
