"""Numbers that arguments hold: a list or tuple where one number is meant is named, not a `TypeError` far below."""

from __future__ import annotations

import math
import numbers
from typing import Any


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """One whole number of at least `least`; a `ValueError` says what came and what is wanted."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise ValueError(f"{name}: {value!r} came, one whole number from {least} is wanted{_instead(value)}")


def check_real(name: str, value: Any, *, least: float = -math.inf, most: float = math.inf) -> float:
    """One finite number from `least` to `most`; a `ValueError` says what came and what is wanted."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and least <= value <= most:
        return float(value)
    limits = "".join(f" {word} {x:g}" for word, x in (("from", least), ("to", most)) if math.isfinite(x))
    raise ValueError(f"{name}: {value!r} came, one number{limits} is wanted{_instead(value)}")


def _instead(value: Any) -> str:
    return "" if isinstance(value, numbers.Real) else f", not a {type(value).__name__}"
