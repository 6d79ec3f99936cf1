"""Whether sampled images and the items that they replace show the retina in one place.

A generator's retina touches the four sides of its square. In items that were only resized, or cropped with a margin,
it does not: a single edge then tells generated from real, and a grader learns the edge.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.crop_field_of_view import META_KEY

__all__ = ["warn_of_other_field"]

_SAME = 0.03  # of the radius


def warn_of_other_field(image: Tensor, outcomes: Sequence[Outcome]) -> None:
    """Warn, once in a process, where items get sampled images whose field of view is not theirs.

    Args:
        image: an item's image, or a batch of them; its metadata say how it was cropped. Plain tensors say nothing, and
            nothing is said of them.
        outcomes: of each item.
    """
    sampled = any(outcome.record is not None and outcome.record.mode == "sample" for outcome in outcomes)
    if not sampled or not isinstance(image, MetaTensor):
        return
    geometry = image.meta.get(META_KEY)
    if geometry is None:
        _warn("were not cropped by CropToFieldOfView[d]")
        return
    radius, side = (torch.as_tensor(geometry[key], dtype=torch.float64) for key in ("radius_y", "box_height"))
    share = float((2 * radius / side).sub(1).abs().max())
    if share > _SAME:
        _warn("were cropped with a margin, or have no visible rim")


@functools.cache
def _warn(how: str) -> None:
    warnings.warn(
        f"The items {how}, but sampled images show a retina that touches all four sides: a grader can tell generated "
        "from real by that edge alone. Crop with CropToFieldOfView[d](margin=0), or use mode='edit', which keeps the "
        "photograph's own field of view.",
        UserWarning,
        stacklevel=5,
    )
