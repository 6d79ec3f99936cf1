"""Tables of a study as CSV and Markdown: a summary, and the published evaluations' own forms."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.evidence.report.markdown import interval_text, markdown_table

from .arms import GENERATIVE

REFERABLE = ("referable_sensitivity", "referable_specificity")
Study = dict[str, Any]
Row = dict[str, Any]
Table = list[list[str]]


def write_tables(study: Study, folder: Path) -> None:
    """Write `tables/<name>.csv` and `tables/<name>.md`."""
    target = folder / "tables"
    target.mkdir(exist_ok=True)
    tables = {"summary": _summary(study), "sensitivity": _sensitivity(study), "comparisons": _comparisons(study)}
    test = study["sets"]["test"]
    tables |= {name: make(study, test) for name, make in PUBLISHED.items()}
    tables |= {f"confusion_{row['condition']}_{row['grader']}": _confusion(row) for row in test}
    for name, table in tables.items():
        with open(target / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
        (target / f"{name}.md").write_text(markdown_table(table[0], table[1:]) + "\n", encoding="utf-8")


def _summary(study: Study) -> Table:
    referable = [name for name in REFERABLE if name in next(iter(study["sets"].values()))[0]]
    head = ["set", "arm", "grader", "n", "trained", "kappa", "kappa - oversample", "accuracy", "accuracy - oversample"]
    table = [[*head, *(name.replace("_", " ") for name in referable)]]
    for name, rows in study["sets"].items():
        for row in rows:
            difference = row.get("difference", {})
            cells = [name, row["condition"], row["grader"], str(row["n"]), str(row["graders_trained"])]
            for figure in ("kappa", "accuracy"):
                cells += [interval_text(row[figure]), interval_text(difference[figure], "+") if difference else ""]
            table.append([*cells, *(interval_text(row[name]) for name in referable)])
    return table


def _sensitivity(study: Study) -> Table:
    """Of every grade."""
    table = [["set", "arm", "grader", *_grades(study)]]
    for name, rows in study["sets"].items():
        for row in rows:
            of = {key: values for key, values in row["sensitivity"].items() if isinstance(values, list)}
            cells = (interval_text(dict(zip(of, each, strict=True))) for each in zip(*of.values(), strict=True))
            table.append([name, row["condition"], row["grader"], *cells])
    return table


def _comparisons(study: Study) -> Table:
    table = [["set", "comparison", "difference of kappa", "p", "p (Holm)", "detectable", "verdict"]]
    for name, comparisons in study["comparisons"].items():
        for c in comparisons:
            title = f"{c['a']} - {c['b']}" + (" (primary)" if c["primary"] else "")
            p_holm = "" if c["primary"] else _number(c["p_holm"])
            kappa = c["kappa"]
            cells = [interval_text(kappa, "+"), _number(kappa["p"]), p_holm, _number(kappa["detectable"]), c["verdict"]]
            table.append([name, title, *cells])
    return table


def _zhao_table_2(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy by augmentation: of every grade (its sensitivity) and of all, for each grader."""
    figures = [[*row["sensitivity"]["value"], row["accuracy"]["value"]] for row in rows]
    return [["augmentation", "grader", *_grades(study), "ALL"], *_named(rows, figures)]


def _drgan_table_3(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy and kappa by grader: trained on real and tested on fake, trained on real, trained on both."""
    best, by_name = _best_generative(study), _by_name(rows)
    pairs = ["Tr-Real Te-Fake", "Tr-Real Te-Real", f"Tr-Real & Fake Te-Real ({best or 'none'})"]
    table = [["backbone", *(f"{pair} {figure}" for pair in pairs for figure in ("acc.", "kappa"))]]
    for grader in _graders(rows):
        fake = study["te_fake"].get(grader, {}).get(best.split("--")[1] if best else "", {})
        cells = [_number(fake.get(figure)) for figure in ("accuracy", "kappa")]
        for condition in ("none", best):
            row = by_name.get((condition, grader))
            cells += [_number(row[figure]["value"]) if row else "" for figure in ("accuracy", "kappa")]
        table.append([grader, *cells])
    return table


def _drgan_table_4(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy and kappa by setting; here the arms, which separate what the modules of the paper separate."""
    figures = [[row[figure]["value"] for figure in ("accuracy", "kappa")] for row in rows]
    return [["setting", "grader", "acc.", "kappa"], *_named(rows, figures)]


def _drgan_table_5(study: Study, rows: Sequence[Row]) -> Table:
    """True-positive rate by grade, trained on real and on real and fake."""
    conditions, by_name = ("none", "oversample", _best_generative(study)), _by_name(rows)
    columns = {f"{g}, {c}": by_name[c, g] for g in _graders(rows) for c in conditions if (c, g) in by_name}
    rates = zip(*(row["sensitivity"]["value"] for row in columns.values()), strict=True)
    return [["grade", *columns], *([str(grade), *map(_number, of)] for grade, of in enumerate(rates))]


def _cheng_table_1(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy by augmentation, a column for each grader."""
    by_name = _by_name(rows)
    table = [["augmentation", *_graders(rows)]]
    for condition in dict.fromkeys(row["condition"] for row in rows):
        found = [by_name[condition, grader] for grader in _graders(rows) if (condition, grader) in by_name]
        table.append([condition, *(f"{100 * row['accuracy']['value']:.2f}%" for row in found)])
    return table


PUBLISHED: dict[str, Callable[[Study, Sequence[Row]], Table]] = {
    "zhao2023_table2": _zhao_table_2,
    "drgan_table3": _drgan_table_3,
    "drgan_table4": _drgan_table_4,
    "drgan_table5": _drgan_table_5,
    "cheng2021_table1": _cheng_table_1,
}


def _confusion(row: Row) -> Table:
    counts = row["confusion"]
    head = ["true \\ predicted", *map(str, range(len(counts)))]
    return [head, *([str(label), *map(str, line)] for label, line in enumerate(counts))]


def _best_generative(study: Study) -> str:
    kappas = {c: k for c, k in study["validation_kappa"].items() if c.split("--")[0] in GENERATIVE}
    return max(kappas, key=kappas.__getitem__) if kappas else ""


def _grades(study: Study) -> list[str]:
    return [f"grade {g}" for g in range(len(study["sets"]["test"][0]["confusion"]))]


def _graders(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["grader"] for row in rows))


def _by_name(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row["condition"], row["grader"]): row for row in rows}


def _named(rows: Sequence[Row], figures: Sequence[Sequence[float | None]]) -> Table:
    """Rows of figures after condition and grader."""
    return [[r["condition"], r["grader"], *map(_number, of)] for r, of in zip(rows, figures, strict=True)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
