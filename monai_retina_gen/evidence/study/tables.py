"""Tables of a study as CSV and Markdown: a summary, and the published evaluations' own forms."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .arms import GENERATIVE

__all__ = ["write_tables"]

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
        (target / f"{name}.md").write_text(_markdown(table), encoding="utf-8")


def _markdown(table: Table) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]]) + "\n"


def _summary(study: Study) -> Table:
    referable = [name for name in REFERABLE if name in next(iter(study["sets"].values()))[0]]
    head = ["set", "arm", "grader", "n", "trained", "kappa", "kappa - oversample", "accuracy", "accuracy - oversample"]
    table = [[*head, *(name.replace("_", " ") for name in referable)]]
    for name, rows in study["sets"].items():
        for row in rows:
            difference = row.get("difference", {})
            cells = [name, row["condition"], row["grader"], str(row["n"]), str(row["graders_trained"])]
            for figure in ("kappa", "accuracy"):
                cells += [_interval(row[figure]), _interval(difference[figure], "+") if difference else ""]
            table.append([*cells, *(_interval(row[name]) for name in referable)])
    return table


def _sensitivity(study: Study) -> Table:
    """Of every grade."""
    table = [["set", "arm", "grader", *(f"grade {g}" for g in _labels(study))]]
    for name, rows in study["sets"].items():
        for row in rows:
            found = [_interval(_entry(row["sensitivity"], g)) for g in _labels(study)]
            table.append([name, row["condition"], row["grader"], *found])
    return table


def _comparisons(study: Study) -> Table:
    head = ["set", "comparison", "difference of kappa", "p", "p (Holm)", "detectable", "verdict"]
    table = [head]
    for name, comparisons in study["comparisons"].items():
        for c in comparisons:
            title = f"{c['a']} - {c['b']}" + (" (primary)" if c["primary"] else "")
            p_holm = "" if c["primary"] else _number(c["p_holm"])
            kappa = c["kappa"]
            cells = [_interval(kappa, "+"), _number(kappa["p"]), p_holm, _number(kappa["detectable"]), c["verdict"]]
            table.append([name, title, *cells])
    return table


def _zhao_table_2(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy by augmentation: of every grade (its sensitivity) and of all, for each grader."""
    labels = _labels(study)
    table = [["augmentation", "grader", *(f"grade {g}" for g in labels), "ALL"]]
    for row in rows:
        figures = [_number(_entry(row["sensitivity"], g)["value"]) for g in labels]
        table.append([row["condition"], row["grader"], *figures, _number(row["accuracy"]["value"])])
    return table


def _drgan_table_3(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy and kappa by grader: trained on real and tested on fake, trained on real, trained on both."""
    best = _best_generative(study)
    pairs = ["Tr-Real Te-Fake", "Tr-Real Te-Real", f"Tr-Real & Fake Te-Real ({best or 'none'})"]
    table = [["backbone", *(f"{pair} {figure}" for pair in pairs for figure in ("acc.", "kappa"))]]
    for grader in dict.fromkeys(row["grader"] for row in rows):
        fakes = study["te_fake"].get(grader, {})
        fake = fakes.get(_generator_of(best), {})
        cells = [_number(fake.get("accuracy")), _number(fake.get("kappa"))]
        for condition in ("none", best):
            row = _find(rows, condition, grader)
            cells += [_number(row[f]["value"]) if row else "" for f in ("accuracy", "kappa")]
        table.append([grader, *cells])
    return table


def _drgan_table_4(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy and kappa by setting; here the arms, which separate what the modules of the paper separate."""
    table = [["setting", "grader", "acc.", "kappa"]]
    for row in rows:
        figures = [_number(row[figure]["value"]) for figure in ("accuracy", "kappa")]
        table.append([row["condition"], row["grader"], *figures])
    return table


def _drgan_table_5(study: Study, rows: Sequence[Row]) -> Table:
    """True-positive rate by grade, trained on real and on real and fake."""
    best = _best_generative(study)
    graders = list(dict.fromkeys(row["grader"] for row in rows))
    columns = [(grader, condition) for grader in graders for condition in ("none", "oversample", best)]
    columns = [column for column in columns if _find(rows, column[1], column[0])]
    table = [["grade", *(f"{grader}, {condition}" for grader, condition in columns)]]
    for g in _labels(study):
        found = [_find(rows, condition, grader) for grader, condition in columns]
        table.append([str(g), *(_number(_entry(row["sensitivity"], g)["value"]) for row in found if row)])
    return table


def _cheng_table_1(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy by augmentation, a column for each grader."""
    graders = list(dict.fromkeys(row["grader"] for row in rows))
    table = [["augmentation", *graders]]
    for condition in dict.fromkeys(row["condition"] for row in rows):
        found = [_find(rows, condition, grader) for grader in graders]
        table.append([condition, *(f"{100 * row['accuracy']['value']:.2f}%" for row in found if row)])
    return table


PUBLISHED: dict[str, Callable[[Study, Sequence[Row]], Table]] = {
    "zhao2023_table2": _zhao_table_2,
    "drgan_table3": _drgan_table_3,
    "drgan_table4": _drgan_table_4,
    "drgan_table5": _drgan_table_5,
    "cheng2021_table1": _cheng_table_1,
}


def _confusion(row: Row) -> Table:
    labels = range(len(row["confusion"]))
    table = [["true \\ predicted", *map(str, labels)]]
    return table + [[str(label), *map(str, row["confusion"][label])] for label in labels]


def _best_generative(study: Study) -> str:
    kappas = {c: k for c, k in study["validation_kappa"].items() if c.split("--")[0] in GENERATIVE}
    return max(kappas, key=kappas.__getitem__) if kappas else ""


def _generator_of(condition: str) -> str:
    return condition.split("--")[1] if condition else ""


def _labels(study: Study) -> range:
    return range(len(study["sets"]["test"][0]["confusion"]))


def _find(rows: Sequence[Row], condition: str, grader: str) -> Row | None:
    return next((row for row in rows if row["condition"] == condition and row["grader"] == grader), None)


def _entry(figures: dict[str, Any], label: int) -> dict[str, Any]:
    return {name: values[label] for name, values in figures.items() if isinstance(values, list)}


def _interval(figure: dict[str, Any], sign: str = "") -> str:
    if figure["value"] is None:
        return "undefined"
    if figure["low"] is None:
        return format(figure["value"], f"{sign}.3f")
    return f"{figure['value']:{sign}.3f} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
