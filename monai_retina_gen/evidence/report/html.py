"""Parts of a self-contained HTML page, whose text is escaped here and nowhere else; tables and figures as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

Cell = str | float | int | None
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
WIDE = 10  # columns above which a table is set smaller


def number(value: Cell, digits: int = 3) -> str:
    """A figure for a table; a hyphen where there is none.

    Examples:
        >>> number(0.12345), number(None), number(7), number("text")
        ('0.123', '-', '7', 'text')
    """
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def section(title: str, *parts: str) -> str:
    """A section with its heading."""
    return f"<section><h2>{escape(title)}</h2>\n{''.join(parts)}</section>\n"


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>\n"


def code(lines: Sequence[str]) -> str:
    """Commands to copy."""
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>\n"


def warnings(lines: Sequence[str]) -> str:
    """What the reader must know, set apart; nothing where there is nothing."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="warn" role="note">{items}</ul>\n'


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = "") -> str:
    """A table that scrolls by itself; on a narrow screen each row becomes a card with the column beside every value."""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>"
        + "".join(f'<td data-head="{escape(h)}">{escape(number(c))}</td>' for h, c in zip(head, row, strict=True))
        + "</tr>\n"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = "scroll wide" if len(head) > WIDE else "scroll"
    label = escape(caption or "table")
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{label}"><table>{title}<thead><tr>{cells}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>\n"
    )


def figure(png: bytes | Path, caption: str, *, plot: bool = False) -> str:
    """A picture, embedded; a plot keeps a size at which its text can be read on a narrow screen, and scrolls there."""
    data = png.read_bytes() if isinstance(png, Path) else png
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    text = escape(caption)
    image = f'<img src="{uri}" alt="{text}">'
    if plot:
        image = f'<div class="scroll plot" tabindex="0" role="region" aria-label="{text}">{image}</div>'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>\n"


def picture(folder: Path, name: str | None, caption: str) -> str:
    """A figure from a file that a JSON beside it names; a line that says so where it is missing."""
    # nothing outside that JSON's folder is embedded
    if not name or Path(name).name != name or not (folder / name).is_file():
        return paragraph(f"(missing picture: {caption})")
    return figure(folder / name, caption)


def page(title: str, sections: Sequence[str]) -> str:
    """The whole document. It loads nothing: no script, no font, no picture from elsewhere."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{''.join(sections)}</body></html>\n"
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table."""
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
