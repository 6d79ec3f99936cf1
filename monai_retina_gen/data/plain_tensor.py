"""Tensors without metadata."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["plain_tensor"]


def plain_tensor(values: Any) -> Tensor:
    """An array or `MetaTensor` as an ordinary tensor, which shares its memory where it can.

    Examples:
        >>> from monai.data import MetaTensor
        >>> type(plain_tensor(MetaTensor([1.0]))).__name__
        'Tensor'
    """
    tensor = torch.as_tensor(values)
    # a wrapper of another kind, as of a device, is more than metadata
    return tensor if hasattr(tensor, "__tensor_flatten__") or type(tensor) is Tensor else tensor.as_subclass(Tensor)
