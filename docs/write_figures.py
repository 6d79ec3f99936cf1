"""Write the figures that the pages quote from the files that hold them.

    python docs/write_figures.py                                           # writes README, docs and cards
    python docs/write_figures.py --take audit.retina_vae audit/audit.json  # first puts a result into figures.json

A page quotes figures between two comments, the first with a template in the words of Python's `str.format`; a table is
a template of several lines:

    kappa <!-- figures: {retina_grader.quadratic_weighted_kappa:.2f} -->0.71<!-- end -->

`{study.retina_vae.difference:+.2f ci}` adds the interval (`difference_low` and `_high`, or `low` and `high` beside it),
`ci?` leaves a figure out that is not there. A line of a template can stand for several rows of a table, one for each
key; a key may bring a title:

    rows of label_check for retina_vae; retina_wgan = the WGAN: | {title} | {agreement:.2f ci} of {n} |

`include NAME` stands for the lines of `docs/templates/NAME.txt`, which several cards share; there `own_audit` and
`own_label_check` are those of the card's bundle.

What a bundle measures of itself is `eval_metrics` of its `metadata.json` and stands under the bundle's name (in its own
card also without it); all else is in `docs/figures.json`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = REPOSITORY / "docs" / "figures.json"
TEMPLATES = REPOSITORY / "docs" / "templates"
QUOTED = re.compile(r"(<!-- figures:(.*?)-->)(.*?)(<!-- end -->)", re.DOTALL)
ROWS = re.compile(r"^rows (?:of (?P<group>[\w.]+) )?for (?P<keys>.*?): (?P<row>\|.*)$")
INTERVAL = re.compile(r"{(?P<name>[\w.]+):(?P<format>[^{}]*) ci(?P<optional>\??)}")
LONGEST_TEXT = 80


def pages() -> Iterator[Path]:
    """README, the pages of `docs/` and the bundles' cards."""
    yield REPOSITORY / "README.md"
    yield from sorted((REPOSITORY / "docs").glob("**/*.md"))
    yield from sorted((REPOSITORY / "bundles").glob("*/docs/README.md"))


def figures_of(page: Path) -> dict[str, Any]:
    """What a page may quote, as objects whose attributes are the keys of the files."""
    found = _as_objects(FIGURES)
    for path in sorted((REPOSITORY / "bundles").glob("*/configs/metadata.json")):
        found[path.parents[1].name] = metrics = _as_objects(path)["eval_metrics"]
        if path.parents[1] in page.parents:
            own = {f"own_{kind}": getattr(found[kind], path.parents[1].name, None) for kind in ("audit", "label_check")}
            found |= vars(metrics) | own
    return found


def filled(text: str, values: dict[str, Any]) -> str:
    """A page with each quotation written anew.

    Args:
        text: of the page.
        values: of `figures_of`.

    Raises:
        AttributeError, KeyError: for a figure that is in no file.
        ValueError: if a quotation has no end.

    Examples:
        >>> filled("<!-- figures: {a:.1f} -->0.4<!-- end -->", {"a": 0.52})
        '<!-- figures: {a:.1f} -->0.5<!-- end -->'
    """
    if text.count("<!-- figures:") != text.count("<!-- end -->") or any("<!--" in m[3] for m in QUOTED.finditer(text)):
        raise ValueError("a <!-- figures: ... --> has no <!-- end --> before the next")
    return QUOTED.sub(lambda m: f"{m[1]}{written(m[2].strip(' '), values)}{m[4]}", text)


def written(template: str, values: dict[str, Any]) -> str:
    """A template with its rows, intervals and figures written out.

    Examples:
        >>> trials = SimpleNamespace(a=SimpleNamespace(d=0.1, low=0.0, high=0.2), b=SimpleNamespace(n=3))
        >>> print(written("rows of trials for a; b = the other: | {title} | {d:.1f ci?} |", {"trials": trials}))
        | `a` | 0.1 [0.0, 0.2] |
        | the other |  |
    """
    return "\n".join("\n".join(_lines(line, values)) for line in template.split("\n"))


def _lines(line: str, values: dict[str, Any]) -> Iterator[str]:
    if line.startswith("include "):
        yield written((TEMPLATES / f"{line.split()[1]}.txt").read_text(encoding="utf-8").strip("\n"), values)
        return
    if (rows := ROWS.match(line)) is None:
        yield INTERVAL.sub(lambda found: _interval(found, values), line).format(**values)
        return
    group = attrgetter(rows["group"])(SimpleNamespace(**values)) if rows["group"] else SimpleNamespace(**values)
    for key, _, title in (entry.strip().partition(" = ") for entry in rows["keys"].split(";")):
        yield from _lines(rows["row"], {**values, **vars(getattr(group, key)), "title": title or f"`{key}`"})


def _interval(found: re.Match[str], values: dict[str, Any]) -> str:
    """`{a.b:.2f ci}` as `{a.b:.2f} [{a.b_low:.2f}, {a.b_high:.2f}]`, or with `a.low` and `a.high`."""
    name, form = found["name"], found["format"]
    if found["optional"] and not _has(values, name):
        return ""
    beside = f"{name}_" if _has(values, f"{name}_low") else name[: name.rfind(".") + 1]
    return f"{{{name}:{form}}} [{{{beside}low:{form}}}, {{{beside}high:{form}}}]"


def _has(values: dict[str, Any], name: str) -> bool:
    try:
        attrgetter(name)(SimpleNamespace(**values))
    except AttributeError:
        return False
    return True


def summary(result: Any) -> Any:
    """The numbers, short texts and lists of numbers of a command's result, to four digits.

    Examples:
        >>> summary({"kappa": 0.123456, "names": ["a.png"], "n": 116, "spaces": {"pixels": {"near": 0}}})
        {'kappa': 0.1235, 'n': 116, 'spaces': {'pixels': {'near': 0}}}
    """
    if isinstance(result, dict):
        kept = {key: summary(value) for key, value in result.items() if _is_figure(value)}
        return {key: value for key, value in kept.items() if value != {}}
    if isinstance(result, list):
        return [summary(value) for value in result]
    return float(f"{result:.4g}") if isinstance(result, float) else result


def take(key: str, path: Path) -> None:
    """Put the summary of a result under a dotted key of `figures.json`."""
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    *folders, last = key.split(".")
    place = found
    for name in folders:
        place = place.setdefault(name, {})
    place[last] = summary(json.loads(path.read_text(encoding="utf-8")))
    FIGURES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _is_figure(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(x, int | float) for x in value)
    return not isinstance(value, str) or len(value) <= LONGEST_TEXT


def _as_objects(path: Path) -> dict[str, Any]:
    return vars(json.loads(path.read_text(encoding="utf-8"), object_hook=lambda found: SimpleNamespace(**found)))


def main() -> None:
    """Take a result where one is named, then write all pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", nargs=2, metavar=("KEY", "RESULT"), help="a key of figures.json, and the file for it")
    if (taken := parser.parse_args().take) is not None:
        take(taken[0], Path(taken[1]))
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := filled(text, figures_of(page))) != text:
            page.write_text(new, encoding="utf-8")
            print(f"wrote {page.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
