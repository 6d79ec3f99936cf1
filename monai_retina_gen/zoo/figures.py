"""The headline figures of a bundle: those of its metadata's `eval_metrics` that the index quotes, as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["HEADLINE", "headline_figures"]

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
    *(
        "split",
        "n",
        "n_photographs",
        "n_real",
        "n_generated",
        "n_lesions",
        "n_vessels",
        "extractor",
        "extractor_dimension",
    ),
    *("fid_at_floor_n", "fid_real_against_real", "floor_n"),
)
"""What they depend on, and stand beside."""


def headline_figures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Headline figures and their conditions, copied exactly.

    Args:
        metadata: of a bundle.

    Examples:
        >>> headline_figures({"eval_metrics": {"fid": 7.5, "swd": 100.0, "n_real": 59}})
        {'fid': 7.5, 'n_real': 59}
    """
    metrics = metadata.get("eval_metrics", {})
    return {key: metrics[key] for key in (*HEADLINE, *CONDITIONS) if key in metrics}
