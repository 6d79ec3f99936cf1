"""The headline figures of an evaluation, and writing them into a bundle's metadata."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from monai_retina_gen.data import write_json
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights import CHECKPOINT, find_bundle, read_metadata, sha256_file

__all__ = ["headline", "write_eval_metrics"]


def headline(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation that metadata and model card quote, to four digits, with what they depend on.

    `<name>` is of all images. `<name>_real_against_real` is of two halves of the photographs, `floor_n` in each, and
    `<name>_at_floor_n` of as many samples: only these two are to be compared, since most figures change with n.
    """
    figures: dict[str, Any] = {}
    for name, metric in result["metrics"].items():
        figures[name] = metric["value"]
        figures[f"{name}_at_floor_n"] = metric["value_at_floor_n"]
        figures[f"{name}_real_against_real"] = metric["floor"]
    figures["kid_p_value"] = result["metrics"]["kid"]["p_value"]
    figures["swd"] = result["sliced_wasserstein"]["value"]
    figures["swd_n"] = result["sliced_wasserstein"]["n_real"]
    figures["realism_median"] = result["realism"]["median"]
    figures = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    return figures | {
        "floor_n": result["metrics"]["kid"]["floor_n"],
        "n_real": result["data"]["n_real"],
        "n_generated": result["data"]["n_generated"],
        "extractor": result["extractor"]["name"],
        "extractor_sha256": result["extractor"]["sha256"],
        "extractor_dimension": result["extractor"]["dimension"],
        "weights_sha256": result["generator"]["weights_sha256"],
        "warnings": sorted({w for metric in result["metrics"].values() for w in metric["warnings"]}),
    }


def write_eval_metrics(result: dict[str, Any], bundle: str | os.PathLike[str]) -> Path:
    """Write the headline figures into a bundle's `configs/metadata.json`, key `eval_metrics`; the rest stays.

    Raises:
        WeightsError: if the bundle's weights are not those that were evaluated.
    """
    folder = find_bundle(bundle)
    found, evaluated = sha256_file(folder / CHECKPOINT), result["generator"]["weights_sha256"]
    if found != evaluated:
        raise WeightsError(
            f"{folder} has weights {found[:12]}, but {evaluated[:12] or 'others'} were evaluated: evaluate this bundle"
        )
    path = folder / "configs" / "metadata.json"
    write_json({**read_metadata(folder), "eval_metrics": headline(result)}, path, sort_keys=False)
    return path
