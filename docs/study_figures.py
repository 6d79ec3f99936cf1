"""Figures of the studies on IDRiD, from the results of their trainings in `docs/results`, for `docs/figures.json`.

    python docs/study_figures.py && python docs/write_figures.py

A study lies there as `study` left it (`settings.json` and `runs/*/result.json`), so that its command goes on from a
copy. Rows are named by `STUDIES`; only seeds that all of a study's arms have count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from monai_retina_gen.evidence.study import StudyConfig
from monai_retina_gen.evidence.study.analysis import analyse

DOCS = Path(__file__).resolve().parent
FIGURES = DOCS / "figures.json"
PAINTED, UNCHANGED = "edit--retina_lesion_painter--share0.3", "nothing-new-of-edit--retina_lesion_painter--share0.3"
OF_GENERATORS = {f"sample--{name}--1": name for name in ("retina_wgan", "retina_wgan_gp", "retina_stylegan3")}
STUDIES: dict[str, tuple[str, dict[str, str]]] = {
    "painting": (
        "idrid",
        {
            "none": "none",
            "oversample": "oversample",
            PAINTED: "policy",
            UNCHANGED: "nothing_new",
            "synthesize--retina_drgan--share0.3": "synthesize",
        },
    ),
    "severe_25": ("idrid_severe_25", {"oversample": "oversample", PAINTED: "policy"}),
    "samples_64px": ("idrid_samples_64px", {"oversample": "oversample", **OF_GENERATORS}),
}
"""By key under `study`: folder in `docs/results`, and names of the rows by condition."""

Result = dict[str, Any]
OFFICIAL = "test/"  # groups of IDRiD's own test set


def study_figures(key: str) -> dict[str, Any]:
    """Figures of a study: `test`, and `official` for those photographs that are IDRiD's official test set."""
    name, rows = STUDIES[key]
    folder = DOCS / "results" / name
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    known = {field.name for field in fields(StudyConfig)}
    config = StudyConfig(datalist="idrid", out=str(folder), **{k: v for k, v in settings.items() if k in known})
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("runs/*/result.json"))]
    seeds: dict[str, set[int]] = {}
    for result in results:
        seeds.setdefault(_row(result, rows), set()).add(result["run"]["seed"])
    shared = set.intersection(*seeds.values())
    results = [result for result in results if result["run"]["seed"] in shared]
    return {
        "test": _figures(results, config, rows),
        "official": _figures([_official(result) for result in results], config, rows),
    }


def _row(result: Result, rows: Mapping[str, str]) -> str:
    run = result["run"]
    return rows[run["id"].split(f"--{run['grader']}--seed")[0]]


def _official(result: Result) -> Result:
    judged = result["predictions"]["test"]
    kept = [i for i, group in enumerate(judged["group"]) if group.startswith(OFFICIAL)]
    fewer = {key: [values[i] for i in kept] for key, values in judged.items()}
    return {**result, "predictions": {**result["predictions"], "test": fewer}}


def _figures(results: Sequence[Result], config: StudyConfig, rows: Mapping[str, str]) -> dict[str, Any]:
    found = analyse(results, config)
    figures = {rows[row["condition"]]: _flat(row) for row in found["sets"]["test"]}
    for name in figures:
        of_arm = [result for result in results if _row(result, rows) == name]
        figures[name]["replaced_share"] = _digits(sum(r["replaced_share"] for r in of_arm) / len(of_arm))
    for comparison in found["comparisons"]["test"]:
        if comparison["b"] == UNCHANGED:
            figures["against_control"] = {"difference": _digits(comparison["kappa"]["value"])}
            figures["against_control"] |= _ends("", comparison["kappa"])
    return figures


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a row and its differences to `oversample`, under names that a template can say."""
    figures = {"n": row["n"], "trainings": row["graders_trained"]}
    for name, found in row.items():
        if isinstance(found, dict) and name != "difference":
            figures |= _named(name, found)
    for name, found in row.get("difference", {}).items():
        figures |= _named(f"difference_{name}" if name != "kappa" else "difference", found)
        if name == "kappa":
            figures |= {"detectable": _digits(found["detectable"]), "p_value": _digits(found["p"])}
    return figures


def _named(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(found["value"], list):
        return {name: _digits(found["value"]), **_ends(f"{name}_", found)}
    figures: dict[str, Any] = {}
    for grade, (value, low, high) in enumerate(zip(found["value"], found["low"], found["high"], strict=True)):
        named = name.replace("sensitivity", f"grade_{grade}")
        figures |= {named: _digits(value), **_ends(f"{named}_", {"low": low, "high": high})}
    return figures


def _ends(prefix: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{end}": _digits(found[end]) for end in ("low", "high")}


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def main() -> None:
    """Write them into `figures.json`."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    for key in STUDIES:
        figures["study"][key] = study_figures(key)
    FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
