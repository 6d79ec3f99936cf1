"""A figure with all that it means nothing without: counts, extractor, dimension, floor and warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor


def plain(value: Any) -> Any:
    """Plain JSON value of tensors, mappings, tuples and floats; None for what is not finite."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """One figure of generated against real features.

    Attributes:
        name: name of the metric.
        value: figure of all images.
        n_real: number of real images.
        n_generated: number of generated images.
        extractor: name of the feature extractor.
        extractor_sha256: sha256 of its weights; empty for a function without weights.
        dimension: number of features, d.
        std: spread over subsets (KID); nan where there is none.
        p_value: of a permutation test that both sets come from one distribution (KID); nan where there is
        none. floor_n: images in each set behind the next four figures; 0 where the sets are too small to
        split. floor: mean figure of one random half of the real images against the other, over seeded splits.
        floor_std: its standard deviation over the splits.
        value_at_floor_n: mean figure of as many generated images against the same halves.
        ratio_to_floor: `value_at_floor_n / floor`, both at equal n; nan for unbiased figures around 0 (KID).
        warnings: what the reader must know, in sentences.

    Examples:
        >>> result = MetricResult(
        ...     name="fid",
        ...     value=1.5,
        ...     n_real=60,
        ...     n_generated=60,
        ...     extractor="mean",
        ...     extractor_sha256="",
        ...     dimension=3,
        ... )
        >>> result.as_dict()["value"], result.as_dict()["p_value"]
        (1.5, None)
    """

    name: str
    value: float
    n_real: int
    n_generated: int
    extractor: str
    extractor_sha256: str
    dimension: int
    std: float = math.nan
    p_value: float = math.nan
    floor_n: int = 0
    floor: float = math.nan
    floor_std: float = math.nan
    value_at_floor_n: float = math.nan
    ratio_to_floor: float = math.nan
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where a figure is undefined."""
        return {name: plain(value) for name, value in vars(self).items()}
