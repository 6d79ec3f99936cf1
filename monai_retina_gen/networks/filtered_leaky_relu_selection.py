"""Whether the Triton kernel or the products of matrices compute the filtered leaky ReLU.

The kernel is used where it is asked for (`MRG_TRITON=1` in the environment), for CUDA tensors where Triton is
installed, the filters are separable, and a small computation of both agrees: once in a process for each layer geometry,
dtype and use. In all other cases, and after any error that Triton raises, the products compute it, and one line of the
log says why. An error of the GPU itself, such as an address that does not exist, no program can recover from: so it is
off until asked for.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 3e-2}
_verdicts: dict[Hashable, bool] = {}
_said: set[str] = set()


def fused_or_none(reference: Callable[..., Tensor], *arguments: Any) -> Tensor | None:
    """The operator or its linear form by the Triton kernel, or `None` where that is not to be used.

    `reference` is the same by products of matrices, to check the kernel against.
    """
    tangent, x, _, _, up, down, weights, bands, slope, _, adjoint = arguments
    if not _on_gpu(x):
        return None
    reason = _unsuitable(up.dtype, weights)
    if reason is not None:
        _say_once(logging.INFO, reason)
        return None
    use = "forward" if tangent is None else "adjoint" if adjoint else "tangent"
    family = (x.device, x.dtype, up.dtype, *bands, *up.shape, *down.shape, use)
    if family not in _verdicts:
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            return None  # the check waits for the GPU, which breaks the capture of a graph
        _verdicts[family] = _agrees(reference, _check_arguments(use, x, (up, down, weights, bands, slope)))
    if not _verdicts[family]:
        return None
    out = _launched(arguments)
    _verdicts[family] = out is not None
    return out


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda


def _unsuitable(dtype: torch.dtype, weights: Sequence[float]) -> str | None:
    if os.environ.get("MRG_TRITON") != "1":
        return "the Triton kernel is off (MRG_TRITON=1 asks for it)"
    if dtype not in _TOLERANCES:
        return f"the Triton kernel takes float32 and bfloat16, not {dtype}"
    if list(weights) != [1.0]:
        return "the Triton kernel takes separable filters only"
    return None if _triton_installed() else "Triton is not installed"


@lru_cache(maxsize=1)
def _triton_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def _say_once(level: int, reason: str) -> None:
    if reason not in _said:
        _said.add(reason)
        logger.log(level, f"filtered leaky ReLU is computed by products of matrices: {reason}")


def _launched(arguments: Sequence[Any]) -> Tensor | None:
    try:
        # Only here, for importing Triton takes time, and a broken installation may raise anything.
        from monai_retina_gen.networks.filtered_leaky_relu_triton import fused_filtered_leaky_relu

        return fused_filtered_leaky_relu(*arguments)
    except torch.OutOfMemoryError:
        raise  # the other path needs more
    except Exception as error:
        _say_once(logging.WARNING, f"the Triton kernel failed ({type(error).__name__}: {error})")
        return None


def _agrees(reference: Callable[..., Tensor], arguments: Sequence[Any]) -> bool:
    try:
        found = _launched(arguments)
        if found is None:
            return False
        # Float64 where the products might run in TF32; bfloat16 itself, so that both round at the same places.
        exact = torch.float64 if found.dtype == torch.float32 else found.dtype
        wanted = reference(*(a.to(exact) if isinstance(a, Tensor) else a for a in arguments)).double()
        error = float((found.double() - wanted).norm() / wanted.norm())
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:
        _say_once(logging.WARNING, f"the Triton kernel's check failed ({type(problem).__name__}: {problem})")
        return False
    if not error < _TOLERANCES[found.dtype]:  # so that NaN fails
        _say_once(logging.WARNING, f"the Triton kernel's result differs by {error:.1e} for {found.dtype}")
        return False
    return True


def _check_arguments(use: str, x: Tensor, rest: Sequence[Any]) -> Sequence[Any]:
    # Numbers that are exact in bfloat16, from a generator of their own, and a clamp that acts.
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).bfloat16().to(x.device)

    up, down = rest[:2]
    size = down.shape[1] if use == "adjoint" else x.shape[-1]
    tangent = None if use == "forward" else draw(2, 3, size, size).to(up.dtype)
    scale = torch.tensor([[0.5, 1.0, 2.0], [1.0, 2.0, 0.5]]).to(up)
    bias = torch.tensor([-0.25, 0.0, 0.5]).to(up)
    return (tangent, draw(2, 3, *x.shape[-2:]).to(x.dtype), scale, bias, *rest, 1.0, use == "adjoint")
