"""The rule by which one of several policies is taken for a study that judges it: settled before any of them was run."""

from __future__ import annotations

from typing import Any

from .arms import Condition

__all__ = ["best_policy"]


def best_policy(rows: list[dict[str, Any]]) -> str:
    """The generative condition with the best kappa; of equals the one that comes first.

    Args:
        rows: `study["sets"]["cross-validation"]` of a study of policies, in which every photograph is judged by graders
            that were not trained on it.

    Raises:
        ValueError: without a generative condition.

    Examples:
        >>> rows = [{"condition": "oversample", "kappa": {"value": 0.9}}]
        >>> rows += [{"condition": f"edit--g--share{s}", "kappa": {"value": k}} for s, k in ((0.3, 0.5), (0.5, 0.4))]
        >>> best_policy(rows)
        'edit--g--share0.3'
    """
    found = {row["condition"]: row["kappa"]["value"] for row in rows if "--" in row["condition"]}
    generative = {name: kappa for name, kappa in found.items() if not Condition.parse(name).of}
    if not generative:
        raise ValueError(f"rows: {[row['condition'] for row in rows]} came, and none is of a generative arm")
    return max(generative, key=lambda name: generative[name])
