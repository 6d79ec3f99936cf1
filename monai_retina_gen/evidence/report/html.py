"""Parts of a self-contained HTML page: tables, figures, warnings. All text is escaped here and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

Cell = str | float | int | None
WIDE = 10
"""Columns above which a table is set smaller."""


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
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{''.join(sections)}</body></html>\n"
    )


_STYLE = """
:root{color-scheme:light dark;--text:#1b1f24;--ground:#fff;--line:#d5dae0;--soft:#f4f6f8;--warn:#8a4b00;
--warnground:#fff6e5}
@media(prefers-color-scheme:dark){:root{--text:#e6e9ed;--ground:#14171b;--line:#363c44;--soft:#1d2127;--warn:#ffc46b;
--warnground:#2d2414}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1rem 4rem;font:16px/1.55 system-ui,sans-serif;color:var(--text);
background:var(--ground);overflow-wrap:anywhere}
h1{line-height:1.2;margin:.2em 0 .6em}h2{margin:2.2em 0 .5em;border-bottom:1px solid var(--line);padding-bottom:.2em}
p{max-width:70ch}
table{border-collapse:collapse;
width:100%;margin:1rem 0;font-variant-numeric:tabular-nums;font-size:.92rem}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{overflow-wrap:normal;text-align:left;vertical-align:top;
padding:.35rem .6rem;border-bottom:1px solid var(--line)}
th{background:var(--soft)}
.scroll{overflow-x:auto}.scroll:focus-visible{outline:2px solid var(--warn)}
.wide table{font-size:.8rem}.wide th,.wide td{padding:.3rem .35rem}
figure{margin:1rem 0}img{max-width:100%;height:auto;border-radius:.3rem;background:#fff;display:block}
figcaption{font-size:.9rem;opacity:.85;margin-top:.3rem;max-width:70ch}
.warn{margin:1rem 0;padding:.7rem 1rem .7rem 2rem;background:var(--warnground);color:var(--warn);border-radius:.4rem}
@media(max-width:640px){
.plot img{max-width:40rem}.wide table{font-size:.92rem}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,caption,tbody,tr,td{display:block;width:100%}
tr{border:1px solid var(--line);border-radius:.4rem;margin:.6rem 0;padding:.2rem 0}
td{overflow-wrap:anywhere;display:flex;gap:.8rem;justify-content:space-between;border-bottom:0;
padding:.15rem .7rem;text-align:right}
td::before{content:attr(data-head);font-weight:600;text-align:left;flex:0 0 42%}
}
@media print{section{break-inside:avoid-page}}
"""
