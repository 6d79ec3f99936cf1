"""The headline figures of a bundle: those of its metadata's `eval_metrics` that the index quotes, as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HEADLINE = (
    "fid",
    "kid",
    "precision",
    "recall",
    "quadratic_weighted_kappa",
    "accuracy",
    "pr_auc_ma",
    "pr_auc_he",
    "pr_auc_ex",
    "pr_auc_se",
    "pr_auc_od",
    "pr_auc_vessel",
    "val_hole_error",
    "contrast_ma",
    "contrast_he",
    "contrast_ex",
    "contrast_se",
)
"""Figures that are quoted, where a bundle has them."""

CONDITIONS = (
    *("split", "n", "n_vessels", "extractor", "extractor_dimension"),
    *("fid_floor", "kid_floor", "precision_floor", "recall_floor"),
)
"""What they depend on, and stand beside."""


def headline_figures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Headline figures and their conditions, copied exactly.

    Args:
        metadata: of a bundle.

    Examples:
        >>> headline_figures({"eval_metrics": {"fid": 7.5, "swd": 100.0, "n": 58}})
        {'fid': 7.5, 'n': 58}
    """
    metrics = metadata.get("eval_metrics", {})
    return {key: metrics[key] for key in (*HEADLINE, *CONDITIONS) if key in metrics}


def metrics_problems(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What keeps `eval_metrics` from being read without its card: one flat table of names, as in MONAI's zoo.

    It names its photographs (`split`, `n`); figures have at most four digits; `<name>_floor` is what photographs among
    themselves reach at the same n, and stands beside `<name>`.

    Examples:
        >>> list(metrics_problems({"split": "test", "n": 58, "fid": 7.5, "fid_floor": 4.0}))
        []
        >>> list(metrics_problems({"split": "test", "fid": 7.5}))
        ['eval_metrics has no n']
    """
    if not metrics:
        yield "metadata.json has no eval_metrics: measure the bundle"
        return
    for name in ("split", "n"):
        if name not in metrics:
            yield f"eval_metrics has no {name}"
    for name, value in metrics.items():
        if not isinstance(value, str | int | float):
            yield f"eval_metrics, {name}: a {type(value).__name__}; only numbers and text, one name each"
        elif isinstance(value, float) and value != float(f"{value:.4g}"):
            yield f"eval_metrics, {name} = {value}: at most four digits"
        if name.endswith("_floor") and name.removesuffix("_floor") not in metrics:
            yield f"eval_metrics, {name} stands alone: {name.removesuffix('_floor')} at the same n is missing"
