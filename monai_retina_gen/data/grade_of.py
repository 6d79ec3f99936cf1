"""One reading of grades, for transforms, samplers, counts, datalists and batches alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

WRITTEN = re.compile(r"[0-9]+(\.0*)?", re.ASCII)  # pandas writes 3 as "3.0" in a column with gaps


def grade_of(value: Any, name: str = "grade") -> int:
    """A grade, or another label, as `int`, from what data sets and loaders hold.

    Args:
        value: a whole number of Python or NumPy, a tensor or array with one element, or a text such as `"2.0"`, `" 3"`.
        name: the argument or key, for the message.

    Raises:
        ValueError: for anything else: nothing, a fraction, a negative number, a truth value, a one-hot vector.

    Examples:
        >>> grade_of(" 3"), grade_of("2.0"), grade_of(np.float32(1)), grade_of(np.array([4]))
        (3, 2, 1, 4)
        >>> grade_of([0, 0, 1, 0, 0])
        Traceback (most recent call last):
        ...
        ValueError: grade: [0, 0, 1, 0, 0] came, which is one-hot; a whole number from 0 is wanted: its argmax
    """
    single = value.item() if isinstance(value, (Tensor, np.ndarray)) and math.prod(value.shape) == 1 else value
    number = _number(single)
    if number is None:
        raise ValueError(f"{name}: {_shown(value)} came{_why(single)}")
    return number


def grades_of(values: Iterable[Any], name: str = "grade") -> list[int]:
    """Grades of a batch, each read by `grade_of`.

    Args:
        values: a sequence, or a tensor or array `(B,)` or `(B, 1)`.
        name: the argument or key, for the message.

    Raises:
        ValueError: for a value that `grade_of` refuses, such as the rows of one-hot vectors `(B, C)`, or no sequence.

    Examples:
        >>> grades_of(np.array([0.0, 4.0])), grades_of(["1", 2])
        ([0, 4], [1, 2])
    """
    if isinstance(values, str) or not np.iterable(values):
        raise ValueError(f"{name}: {_shown(values)} came; a sequence with a grade for each image is wanted")
    # a tensor in one transfer, wherever it is
    return [grade_of(value, name) for value in (values.detach().cpu() if isinstance(values, Tensor) else values)]


def _number(value: Any) -> int | None:
    if isinstance(value, str) and WRITTEN.fullmatch(value.strip()):
        return int(value.strip().split(".")[0])
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (Real, np.number))
        or isinstance(value, np.complexfloating)
    ):
        return None
    whole = np.isfinite(float(value)) and float(value).is_integer() and value >= 0  # type: ignore[operator]
    return int(value) if whole else None  # type: ignore[arg-type]


def _why(value: Any) -> str:
    wanted = "a whole number from 0 is wanted"
    if isinstance(value, (bool, np.bool_)):
        return f"; {wanted}: 0 or 1 for a binary label"
    if isinstance(value, (Tensor, np.ndarray, list, tuple)):
        return f", which is one-hot; {wanted}: its argmax" if _is_one_hot(value) else f"; one {wanted[2:]}"
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        return f"; {wanted}; leave out items without a grade"
    return f"; {wanted}"


def _is_one_hot(values: Any) -> bool:
    flat = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=object).ravel().tolist()
    return len(flat) > 1 and all(v in (0, 1) for v in flat) and sum(flat) == 1


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
