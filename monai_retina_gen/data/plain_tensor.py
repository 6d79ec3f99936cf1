"""Tensors without metadata, and in few bytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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


def in_bytes(values: Any) -> Tensor:
    """Values in [0, 1] as uint8, 255 for 1, without metadata.

    Examples:
        >>> in_bytes([0.0, 0.5, 1.0]).tolist()
        [0, 128, 255]
    """
    return (plain_tensor(values).clamp(0, 1) * 255).round().to(torch.uint8)
