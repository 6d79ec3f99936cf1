"""A second device on every machine: tensors that say they are on "meta", compute on the CPU, and fail where a GPU's do.

Within `stand_in_device()` whatever is moved to "meta" is wrapped. An operation on wrapped tensors and on tensors of the
CPU together raises, as does a random number drawn for one device by a generator of another. So training, validation
and inference run whole, numbers and all, and mixed devices are found without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

__all__ = ["DEVICE", "MixedDevicesError", "OnDevice", "stand_in_device"]

DEVICE = torch.device("meta")
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


_AUTOCAST = torch.autocast


class MixedDevicesError(RuntimeError):
    """Tensors of two devices met."""


class OnDevice(Tensor):
    """A tensor that says it is on `DEVICE`; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], _meta: None, _size: Any, _stride: Any) -> OnDevice:
        return OnDevice(inner["held"])

    def __reduce_ex__(self, protocol: Any) -> Any:  # files hold the numbers
        return self.held.__reduce_ex__(protocol)


class _Factories(TorchDispatchMode):
    """Makes what is asked for on the device, and sees what meets there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What PyTorch does before it asks the mode above."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.to and isinstance(args[0], MetaTensor):
            asked = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, (str, torch.device, Tensor))]
            if any(_is_here(a.device if isinstance(a, Tensor) else a) for a in asked):
                args = (args[0].as_tensor(), *args[1:])  # a MetaTensor cannot wrap a wrapper
        if func in (torch.tensor, torch.as_tensor) and _is_here(kwargs.get("device")):
            del kwargs["device"]  # it would make an empty one
            return func(*args, **kwargs).to(DEVICE)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], OnDevice):
            args = (args[0], _index(args[1]), *args[2:])
        if func is Tensor.new_tensor and isinstance(args[0], OnDevice) and kwargs.get("device") is None:
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(DEVICE)
        return func(*args, **kwargs)


def _index(index: Any) -> Any:
    """Lists as tensors: PyTorch would make empty ones of them on the device."""
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


_NEW = MetaTensor.__new__


def _new_meta_tensor(cls: type, x: Any, *args: Any, **kwargs: Any) -> Any:
    return x if isinstance(x, OnDevice) else _NEW(cls, x, *args, **kwargs)


def _is_here(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    ours = any(isinstance(leaf, OnDevice) for leaf in leaves)
    here = _is_here(kwargs["device"]) if kwargs.get("device") is not None else ours
    _check(func, args, kwargs, ours, leaves)
    plain_args, plain = tree_map_only(OnDevice, lambda tensor: tensor.held, (args, kwargs))
    if plain.get("device") is not None:
        plain["device"] = torch.device("cpu")
    if plain.get("pin_memory"):
        plain["pin_memory"] = False
    out = func(*plain_args, **plain)
    if not here:
        return out
    wrapped = tree_map_only(Tensor, lambda t: t if isinstance(t, OnDevice) else OnDevice(t), out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if ours else wrapped


def _check(func: Any, args: Any, kwargs: dict[str, Any], ours: bool, leaves: list[Tensor]) -> None:
    generator = kwargs.get("generator")
    if generator is not None and (ours or _is_here(kwargs.get("device"))):
        raise MixedDevicesError(f"{func}: a generator of the CPU draws for {DEVICE}")
    if not ours or func in COPIES:
        return
    if func in INDEXED and isinstance(args[0], OnDevice):  # indices may lie on the CPU
        leaves = [leaf for leaf in (args[0], *args[2:3]) if isinstance(leaf, Tensor)]
    others = [leaf for leaf in leaves if not isinstance(leaf, OnDevice) and leaf.ndim > 0]
    if others:
        shapes = [tuple(leaf.shape) for leaf in others]
        raise MixedDevicesError(f"{func}: tensors of {DEVICE} and of the CPU (of shapes {shapes})")


@contextmanager
def stand_in_device() -> Iterator[torch.device]:
    """Within, "meta" can be computed on; gives the device."""
    with (
        patch.object(torch, "autocast", _autocast),
        patch.object(MetaTensor, "__new__", _new_meta_tensor),
        sdpa_kernel(SDPBackend.MATH),  # others are chosen by the device
        _Calls(),
        _Factories(),
    ):
        yield DEVICE


def _autocast(device_type: str, **options: Any) -> Any:
    """PyTorch's knows no "meta"; that of the CPU leaves the wrapped tensors alone."""
    return _AUTOCAST("cpu" if device_type == DEVICE.type else device_type, **options)
