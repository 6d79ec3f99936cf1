"""Selection rate: the share of readers who agree with a photograph's label, and the filter by it.

Source: Kim et al., "Fake Data Generation for Medical Image Augmentation using GANs", section II-B: ten
ophthalmologists diagnose each photograph again; the rate of correct diagnoses is its selection rate, and training sets
are cut at 60, 70 and 80 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from monai_retina_gen.data.datalist_format import SECTIONS, Datalist, Item, Problems
from monai_retina_gen.errors import DatalistError


def selection_rate(votes: Sequence[object], label: object) -> float:
    """Share of votes that agree with the label, in [0, 1].

    Args:
        votes: labels that readers gave; those who did not vote are not in it.
        label: the reference label.

    Raises:
        ValueError: without a vote.

    Examples:
        >>> selection_rate(["normal", "exotropia", "exotropia"], "exotropia")
        0.6666666666666666
    """
    if not votes:
        raise ValueError("votes is empty: a selection rate needs at least one reader")
    return sum(vote == label for vote in votes) / len(votes)


class SelectionRateFilter:
    """Keeps the photographs on whose label enough readers agree: `selection_rate >= threshold`.

    Args:
        threshold: share of readers in [0, 1]; 0 keeps all.
        sections: sections of a datalist that are cut. By default only the training photographs: what judges a model
            must not get easier with the threshold.

    Raises:
        ValueError: for a threshold outside [0, 1].
        DatalistError: on a call, for an unknown section, or an item of a cut section without a selection rate in
            [0, 1].

    Examples:
        >>> items = [{"image": "a.png", "selection_rate": 0.6}, {"image": "b.png", "selection_rate": 0.5}]
        >>> [item["image"] for item in SelectionRateFilter(0.6)(items)]
        ['a.png']
        >>> datalist = {"training": items, "validation": items[1:]}
        >>> {section: len(part) for section, part in SelectionRateFilter(0.6)(datalist).items()}
        {'training': 1, 'validation': 1}
    """

    def __init__(self, threshold: float, *, sections: Sequence[str] = ("training",)) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold!r}: a share of readers in [0, 1] is wanted, such as 0.6")
        unknown = [section for section in sections if section not in SECTIONS]
        if unknown:
            raise DatalistError(f"sections: {unknown} came; the sections of a datalist are {', '.join(SECTIONS)}")
        self.threshold, self.sections = float(threshold), tuple(sections)

    @overload
    def __call__(self, data: Sequence[Item]) -> list[Item]: ...

    @overload
    def __call__(self, data: Mapping[str, Any]) -> Datalist: ...

    def __call__(self, data: Sequence[Item] | Mapping[str, Any]) -> list[Item] | Datalist:
        """The items that are kept, in their order; of a datalist a copy whose `sections` are cut."""
        if not isinstance(data, Mapping):
            return self._kept(data)
        return {key: self._kept(value) if key in self.sections else value for key, value in data.items()}

    def _kept(self, items: Sequence[Item]) -> list[Item]:
        problems = Problems("SelectionRateFilter")
        for index, item in enumerate(items):
            rate = item.get("selection_rate")
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                problems.add("no selection_rate in [0, 1]", f"{item.get('image', f'item {index}')}: {rate!r}")
        problems.raise_any("Make the datalist from the readers' votes with votes_datalist.")
        return [item for item in items if item["selection_rate"] >= self.threshold]
