"""Check of a bundle's figures: `evaluate.json` is run once more and gives what is stated."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from monai_retina_gen.weights import read_metadata
from monai_retina_gen.zoo.checks_network import quiet

RELATIVE = 0.02
ABSOLUTE = 2e-3
"""Differences that other processors and library versions may make."""

FULL_NAMES = {"kappa": "quadratic_weighted_kappa"}
"""What a workflow's metric is called in `eval_metrics`."""


def check_figures(bundle: Path, dataset_dir: str | Path | None = None) -> list[str]:
    """Run the bundle's `evaluate.json` on the photographs that `eval_metrics` names, and compare.

    Args:
        bundle: its folder.
        dataset_dir: as in `train.json`, whose own default is in the folder `MRG_DATA`.
    """
    stated = read_metadata(bundle).get("eval_metrics", {})
    if "split" not in stated:
        return ["eval_metrics does not say which photographs it is of: its key `split` is missing"]
    with tempfile.TemporaryDirectory() as folder:
        with quiet():
            _evaluate(bundle, dataset_dir, stated["split"], Path(folder))
        measured = _measured(Path(folder))
    return compare_figures({k: v for k, v in stated.items() if isinstance(v, (int, float))}, measured)


def compare_figures(stated: Mapping[str, float], measured: Mapping[str, float]) -> list[str]:
    """What differs; figures are compared where both have them, and there must be one.

    Examples:
        >>> compare_figures({"fid": 7.5}, {"fid": 9.0})
        ['fid is stated as 7.5, evaluate.json gives 9']
    """
    both = [name for name in stated if name in measured]
    if not both:
        return [f"evaluate.json gives {sorted(measured)[:8]}, none of which eval_metrics states"]
    return [
        f"{name} is stated as {stated[name]:.4g}, evaluate.json gives {measured[name]:.4g}"
        for name in both
        if abs(stated[name] - measured[name]) > max(RELATIVE * abs(measured[name]), _last_digit(stated[name]), ABSOLUTE)
    ]


def _evaluate(bundle: Path, dataset_dir: str | Path | None, section: str, output_dir: Path) -> None:
    configs = bundle / "configs"
    data = {} if dataset_dir is None else {"dataset_dir": str(dataset_dir)}
    workflow = ConfigWorkflow(
        workflow_type="train",
        config_file=[str(configs / "train.json"), str(configs / "evaluate.json")],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        bundle_root=str(bundle),
        section=section,
        output_dir=str(output_dir),
        **data,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def _measured(folder: Path) -> dict[str, float]:
    """Numbers by name, of our `metrics.json` or MONAI's `metrics.csv`."""
    found: dict[str, float] = {}
    for path in folder.rglob("metrics.json"):
        found |= _flat(json.loads(path.read_text(encoding="utf-8")))
    for path in folder.rglob("metrics.csv"):
        rows = re.findall(r"^(?:val_)?(\w+)[,\t](-?[\d.e+-]+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        found |= {name: float(value) for name, value in rows}
    return {FULL_NAMES.get(name, name): value for name, value in found.items()}


def _flat(report: Mapping[str, Any]) -> dict[str, float]:
    """Figures of an evaluation, at the n of their floors, or of a flat report."""
    if "metrics" in report:
        metrics = {**report["metrics"], "swd": report["sliced_wasserstein"]}
        return {name: float(found["value_at_floor_n"]) for name, found in metrics.items()}
    return {k: float(v) for k, v in report.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _last_digit(value: float) -> float:
    """Half a unit of the last digit that is written: a figure may have been rounded.

    Examples:
        >>> _last_digit(12.9)
        0.05
    """
    decimals = len(repr(float(value)).partition(".")[2])
    return float(f"{0.5 * 10.0**-decimals:.3g}")
