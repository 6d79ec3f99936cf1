"""Collects what is wrong with a data set, so that one error names everything instead of the first thing."""

from __future__ import annotations

from collections import defaultdict

from monai_retina_gen.errors import DatalistError

SHOWN = 10


class Problems:
    """Names by kind of problem; raises one `DatalistError` with the count and ten names of each kind."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, name: object) -> None:
        """Note one more `name` (a file, a row, a value) with the problem `kind`."""
        self._names[kind].append(str(name))

    def raise_any(self, advice: str) -> None:
        """Raise a `DatalistError` that ends with `advice`, unless nothing was noted."""
        if self._names:
            found = "; ".join(f"{kind}: {listed(names)}" for kind, names in self._names.items())
            raise DatalistError(f"{self.subject}: {found}. {advice}")


def listed(names: list[str]) -> str:
    """`2 (a, b)`; only the first ten names are written out."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"
