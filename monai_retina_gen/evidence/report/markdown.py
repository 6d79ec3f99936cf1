"""Tables as Markdown, and a figure with its interval in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table.

    Examples:
        >>> markdown_table(["arm", "n"], [["none", "3"]]).splitlines()
        ['| arm | n |', '|---|---|', '| none | 3 |']
    """
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def interval_text(figure: Mapping[str, Any], sign: str = "") -> str:
    """`value`, with `low` and `high` where there are any; `sign="+"` shows a sign.

    Examples:
        >>> interval_text({"value": 0.5, "low": 0.25, "high": 0.75}), interval_text({"value": 1.0, "low": None}, "+")
        ('0.500 (0.250 to 0.750)', '+1.000')
    """
    if figure["value"] is None:
        return "undefined"
    if figure["low"] is None:
        return format(figure["value"], f"{sign}.3f")
    return f"{figure['value']:{sign}.3f} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"
