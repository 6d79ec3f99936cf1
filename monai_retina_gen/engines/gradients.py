"""Transforms of gradients between the backward pass and the optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class FiniteGradients:
    """Replaces NaN by 0 and infinite values by the limit.

    Args:
        limit: largest absolute value.

    Examples:
        >>> weight = nn.Parameter(torch.zeros(2)); weight.grad = torch.tensor([float("nan"), float("inf")])
        >>> FiniteGradients(limit=10.0)([weight]); weight.grad
        tensor([ 0., 10.])
    """

    def __init__(self, *, limit: float = 1e5) -> None:
        self.limit = limit

    @torch.no_grad()
    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                torch.nan_to_num_(parameter.grad, nan=0.0, posinf=self.limit, neginf=-self.limit)


class ClipGradientNorm:
    """Scales all gradients of a network together so that their norm is at most `max_norm`."""

    def __init__(self, *, max_norm: float) -> None:
        self.max_norm = max_norm

    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
