"""Write the figures that the pages quote from the files that hold them.

    python docs/write_figures.py                                           # writes README, docs and cards
    python docs/write_figures.py --take audit.retina_vae audit/audit.json  # first puts a result into figures.json

A page quotes figures between two comments, the first with a template in the words of Python's `str.format`; a table is
a template of several lines:

    kappa <!-- figures: {retina_grader.quadratic_weighted_kappa:.2f} -->0.71<!-- end -->

What a bundle measures of itself is `eval_metrics` of its `metadata.json` and stands under the bundle's name (in its own
card also without it); all else is in `docs/figures.json`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = REPOSITORY / "docs" / "figures.json"
QUOTED = re.compile(r"(<!-- figures:(.*?)-->)(.*?)(<!-- end -->)", re.DOTALL)
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
        found |= vars(metrics) if path.parents[1] in page.parents else {}
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
    return QUOTED.sub(lambda m: f"{m[1]}{m[2].strip(' ').format(**values)}{m[4]}", text)


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
