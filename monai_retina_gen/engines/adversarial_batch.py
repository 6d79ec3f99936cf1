"""What `AlternatingTrainer` reads from a batch: real images in [-1, 1], and what the networks are conditioned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor

from monai_retina_gen.data.plain_tensor import plain_tensor

__all__ = ["PrepareAdversarialBatch"]


class PrepareAdversarialBatch(PrepareBatch):
    """Real images and conditions.

    Args:
        image_key: key of the images `(B, 3, H, W)` in [0, 1].
        condition_keys: keys passed on to both networks under their own names, such as `("grade",)` or masks; empty
            for unconditional networks. Whole numbers become int64, others float32.
        unknown_grade: label that stands for "grade unknown".
        drop_grade: share of grades replaced by it, so that the networks also learn images without a grade.

    Returns:
        `(real, condition)` on the device, `real` in [-1, 1].
    """

    def __init__(
        self,
        *,
        image_key: str = "image",
        condition_keys: Sequence[str] = ("grade",),
        unknown_grade: int = 5,
        drop_grade: float = 0.0,
    ) -> None:
        self.image_key, self.condition_keys = image_key, tuple(condition_keys)
        self.unknown_grade, self.drop_grade = unknown_grade, drop_grade

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        real = plain_tensor(batchdata[self.image_key]).to(device=device, dtype=torch.float32, non_blocking=non_blocking)
        condition = {k: self._condition(k, batchdata[k], device, non_blocking) for k in self.condition_keys}
        return real * 2 - 1, condition

    def _condition(self, key: str, value: Any, device: Any, non_blocking: bool) -> Tensor:
        value = plain_tensor(value)
        value = value.float() if value.is_floating_point() else value.long()
        if key == "grade" and self.drop_grade > 0:
            value = value.masked_fill(torch.rand(value.shape) < self.drop_grade, self.unknown_grade)
        return value.to(device=device, non_blocking=non_blocking)
