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

    Flat, as `eval_metrics` is in MONAI's zoo. `<name>` compares `n` samples with `n` photographs and `<name>_floor` as
    many photographs with others, since most figures change with n. Too few photographs to halve have no floor, and
    `n` is all of them.
    """
    metrics = {**result["metrics"], "swd": result["sliced_wasserstein"]}
    floor_n = result["metrics"]["kid"]["floor_n"]
    figures: dict[str, Any] = {}
    for name, metric in metrics.items():
        figures[name] = metric["value_at_floor_n" if floor_n else "value"]
        figures |= {f"{name}_floor": metric["floor"]} if floor_n else {}
    figures["kid_p_value"] = result["metrics"]["kid"]["p_value"]
    figures |= _diversity(result["diversity"]["ms_ssim"])
    figures["realism_median"] = result["realism"]["median"]
    figures = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    return {
        "split": result["data"]["split"],
        "n": floor_n or min(result["data"]["n_real"], result["data"]["n_generated"]),
        **figures,
        "n_photographs": result["data"]["n_real"],
        "n_generated": result["data"]["n_generated"],
        "extractor": result["extractor"]["name"],
        "extractor_sha256": result["extractor"]["sha256"],
        "extractor_dimension": result["extractor"]["dimension"],
        "weights_sha256": result["generator"]["weights_sha256"],
        "warnings": "; ".join(sorted({w for metric in result["metrics"].values() for w in metric["warnings"]})),
    }


def _diversity(found: dict[str, Any]) -> dict[str, float]:
    """Of samples, and of photographs as its floor; nothing where images are too small for it."""
    kinds = {"ms_ssim": "generated", "ms_ssim_floor": "real"}
    return {name: found[kind]["mean"] for name, kind in kinds.items() if kind in found}


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
