"""Photographs with masks from several data sets, which annotate different structures, as one datalist."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.data import (
    SECTIONS,
    Datalist,
    Item,
    chasedb1_datalist,
    hrf_datalist,
    idrid_datalist,
    load_datalist,
)
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.networks import STRUCTURES

PREPARED: dict[str, Callable[..., Datalist]] = {
    "idrid": idrid_datalist,
    "hrf": hrf_datalist,
    "chasedb1": chasedb1_datalist,
}
PathLike = str | os.PathLike[str]


def load_segmentation_data(
    datalist: PathLike | Mapping[str, Any] | Sequence[PathLike],
    dataset_dir: PathLike | None = None,
    *,
    structures: Sequence[str] = STRUCTURES,
) -> Datalist:
    """Load the photographs that have masks from one or several datalists.

    `idrid`, `hrf` and `chasedb1` are read from the folders of these names in `dataset_dir`, with soft masks for
    training and hard ones for validation and test. A set that is named twice is trained on twice as often.

    Args:
        datalist: what `load_datalist` takes, or a list of it.
        dataset_dir: folder of the data sets.
        structures: mask keys; photographs with none of them are left out.

    Returns:
        Datalist with `training`, `validation` and `test`, and `official_test`: those test photographs that are also
        in the official test set of IDRiD's segmentation task.

    Raises:
        DatalistError: if no photograph of `training` has such a mask, and as `load_datalist`.
    """
    sources = [datalist] if isinstance(datalist, str | os.PathLike | Mapping) else list(datalist)
    loaded = [_load(source, dataset_dir) for source in sources]
    merged: Datalist = {
        section: [item for one in loaded for item in one[section] if any(key in item for key in structures)]
        for section in SECTIONS
    }
    if not merged["training"]:
        raise DatalistError(
            f"datalist={datalist!r}: no training photograph has a mask; items need at least one of the keys "
            f"{', '.join(structures)} with the path of a mask"
        )
    return {**merged, "official_test": official_test(merged["test"])}


def official_test(items: Sequence[Item]) -> list[Item]:
    """Those that are in the official test set of IDRiD's segmentation task.

    Examples:
        >>> official_test([{"image": "a/seg_test_IDRiD_55.jpg"}, {"image": "a/seg_train_IDRiD_01.jpg"}])
        [{'image': 'a/seg_test_IDRiD_55.jpg'}]
    """
    return [item for item in items if os.path.basename(item["image"]).startswith("seg_test_IDRiD_")]


def _load(source: PathLike | Mapping[str, Any], dataset_dir: PathLike | None) -> Datalist:
    if dataset_dir is None or not isinstance(source, str) or source not in PREPARED:
        return load_datalist(source, dataset_dir)
    folder = Path(dataset_dir) / source
    folder = folder if folder.is_dir() else Path(dataset_dir)
    hard, soft = (PREPARED[source](folder, soft_masks=soft) for soft in (False, True))
    return {**hard, "training": soft["training"]}
