"""Folds for cross-fitting: which photographs the network of each fold is trained with (see `CrossFittedGraders`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from monai_retina_gen.data import Datalist, Item, split_by_group, unit_of
from monai_retina_gen.errors import DatalistError


def fold_of_group(
    items: Sequence[Item], folds: int = 5, *, seed: int = 0, stratify: str | None = "grade"
) -> dict[str, int]:
    """Deal groups (photographs or patients) out to folds with the grades spread evenly, whole blocks where there are.

    Args:
        items: items with the key `group`, and with `block` where groups belong together (see `split_by_group`).
        folds: how many.
        seed: see `split_by_group`.
        stratify: key whose values are spread evenly, or None.

    Returns:
        Fold from 0 to `folds - 1` by group.

    Raises:
        DatalistError: for fewer than two folds, fewer groups or blocks than folds, or items without `group`.

    Examples:
        >>> items = [{"group": f"eye{i}", "grade": i % 2} for i in range(10)]
        >>> sorted(fold_of_group(items).values())
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """
    units = {unit_of(item) for item in items}
    if not 2 <= folds <= len(units):
        raise DatalistError(f"folds={folds}: from 2 to the number of groups or blocks ({len(units)}) is wanted")
    found: dict[str, int] = {}
    rest = list(items)
    for fold in range(folds):
        share = 1 / (folds - fold)
        sections = split_by_group(rest, (1 - share, share, 0.0), seed=seed, stratify=stratify)
        found |= {str(item["group"]): fold for item in sections["validation"]}
        rest = sections["training"]
    return found


def training_folds(items: Sequence[Item], folds: Mapping[str, int]) -> Iterator[tuple[list[Item], list[Item]]]:
    """For each fold, the items that its network is trained on and those that are held out from it.

    Examples:
        >>> items = [{"group": "a"}, {"group": "b"}]
        >>> [(len(train), len(held_out)) for train, held_out in training_folds(items, {"a": 0, "b": 1})]
        [(1, 1), (1, 1)]
    """
    for fold in sorted(set(folds.values())):
        train = [item for item in items if folds[str(item["group"])] != fold]
        yield train, [item for item in items if folds[str(item["group"])] == fold]


def fold_datalist(datalist: Mapping[str, Any], fold: int, folds: int = 5, *, seed: int = 0) -> Datalist:
    """The datalist that the grader of one fold is trained with; training and validation are dealt out anew.

    Args:
        datalist: as `load_datalist` gives it; its test section stays what it is, and out of all folds.
        fold: which fold is held out.
        folds: see `fold_of_group`.
        seed: see `fold_of_group`; the same for all folds.

    Returns:
        Datalist whose `validation` is the fold and whose `training` is the rest.

    Raises:
        DatalistError: for a fold outside the range, and as `fold_of_group`.

    Examples:
        >>> items = [{"image": f"{i}.png", "group": f"eye{i}", "grade": i % 2} for i in range(10)]
        >>> one = fold_datalist({"training": items[:8], "validation": items[8:], "test": []}, 0)
        >>> len(one["training"]), len(one["validation"])
        (8, 2)
    """
    if not 0 <= fold < folds:
        raise DatalistError(f"fold={fold}: from 0 to {folds - 1} is wanted")
    items = [*datalist["training"], *datalist["validation"]]
    parts = list(training_folds(items, fold_of_group(items, folds, seed=seed)))
    return {**datalist, "training": parts[fold][0], "validation": parts[fold][1]}
