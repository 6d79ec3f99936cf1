"""From items without a split of their own to a datalist: identical files grouped, then split by group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from monai_retina_gen.data.checking import same_content
from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.problems import listed
from monai_retina_gen.errors import DatalistError


def group_identical_files(items: Sequence[Item]) -> None:
    """Give photographs with identical bytes one `group`, and warn where their grades differ."""
    by_path = {item["image"]: item for item in items}
    conflicts = []
    for copies in same_content(by_path):
        for path in copies:
            by_path[path]["group"] = by_path[copies[0]]["group"]
        if len({by_path[path].get("grade") for path in copies}) > 1:
            conflicts.append(" = ".join(copies))
    if conflicts:
        warnings.warn(f"Identical photographs with different grades: {listed(conflicts)}.", UserWarning, stacklevel=3)


def require_items(items: Sequence[Item], where: object, wanted: str) -> None:
    """Raise a `DatalistError` where nothing was found."""
    if not items:
        raise DatalistError(f"{where}: no photographs found; {wanted} is wanted.")
