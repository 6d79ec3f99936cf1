"""Splits by group with the grades spread evenly: iterative stratification on whole groups.

Source: K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011,
algorithm 1, with groups in place of examples and the number of each grade in place of a binary label. What rounding
leaves over in one grade is carried on to the next, so that small sections are not left empty.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from monai_retina_gen.data.checking import same_content
from monai_retina_gen.data.datalist_format import SECTIONS, Item, Problems, listed
from monai_retina_gen.errors import DatalistError

FRACTIONS = (0.7, 0.1, 0.2)
CARRY = 0.5  # measured: halves the error in the sections' sizes, and adds a tenth to that in their grades


def split_by_group(
    items: Sequence[Item], fractions: Sequence[float] = FRACTIONS, *, seed: int = 0, stratify: str | None = "grade"
) -> dict[str, list[Item]]:
    """Split items into training, validation and test, all items of one `group` together, and all groups of one `block`.

    A `block` is a wider group: photographs that may be of one patient although nobody says so, as IDRiD's neighbours.
    The same items and seed give the same split, in whatever order the items come, on every machine. `stratify` is the
    key whose values are spread evenly over the sections. `DatalistError` for fractions that are no shares, or an item
    without `group`.
    """
    _check_arguments(items, fractions)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        groups[unit_of(item)][str(item.get(stratify)) if stratify else ""] += 1
    section_of = _deal_out(groups, fractions, seed)
    sections: dict[str, list[Item]] = {section: [] for section in SECTIONS}
    for item in items:
        sections[section_of[unit_of(item)]].append(item)
    return sections


def unit_of(item: Item) -> str:
    """What a split keeps together: the item's `block`, else its `group`."""
    return str(item.get("block", item.get("group")))


def _check_arguments(items: Sequence[Item], fractions: Sequence[float]) -> None:
    numbers = [share for share in fractions if isinstance(share, int | float) and share >= 0]
    if len(fractions) != 3 or len(numbers) != 3 or not math.isclose(sum(numbers), 1.0, abs_tol=1e-6):
        raise DatalistError(
            f"fractions={fractions!r}: three shares (training, validation, test) that sum to 1 are wanted."
        )
    problems = Problems("split_by_group")
    for index, item in enumerate(items):
        if "group" not in item:
            problems.add("no key 'group'", item.get("image", f"item {index}"))
    problems.raise_any("Give each item a group: its patient, or its photograph where patients are unknown.")


def _deal_out(groups: Mapping[str, Counter[str]], fractions: Sequence[float], seed: int) -> dict[str, str]:
    totals: Counter[str] = sum(groups.values(), Counter())
    # of equal needs the larger section is met first
    shares = dict(sorted(zip(SECTIONS, fractions, strict=True), key=lambda section: -section[1]))
    shares = {section: share for section, share in shares.items() if share}
    # what each still lacks: of each label to its share of all, and in size to its share of those dealt out
    lacks = {section: {label: share * count for label, count in totals.items()} for section, share in shares.items()}
    shortfall = dict.fromkeys(shares, 0.0)
    section_of: dict[str, str] = {}
    # the rarest label first, while there is still freedom; then by a hash, which no library version changes
    for group in sorted(groups, key=lambda name: (*_rarest(groups[name], totals), _hash(seed, name))):
        _, rarest = _rarest(groups[group], totals)
        needs = {section: lacks[section][rarest] + CARRY * shortfall[section] for section in shares}
        section_of[group] = chosen = max(needs, key=needs.__getitem__)
        for section, share in shares.items():
            shortfall[section] += (share - (section == chosen)) * sum(groups[group].values())
        for label, count in groups[group].items():
            lacks[chosen][label] -= count
    return section_of


def _rarest(labels: Iterable[str], totals: Mapping[str, int]) -> tuple[int, str]:
    return min((totals[label], label) for label in labels)


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


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
