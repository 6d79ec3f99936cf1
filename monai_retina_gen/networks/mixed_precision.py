"""Mixed precision where it pays: bfloat16 on every accelerator, and on CPUs that compute in it."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch

__all__ = ["bfloat16_autocast", "cpu_computes_bfloat16"]

logger = logging.getLogger(__name__)


def bfloat16_autocast(device_type: str, enabled: bool = True) -> torch.autocast:
    """Autocast to bfloat16; on a CPU without bfloat16 instructions, where it is several times slower, to nothing.

    Args:
        device_type: "cpu", "cuda", ...
        enabled: `False` computes in float32.

    Raises:
        TypeError: if `enabled` is no bool, as the "false" of a command line.

    Examples:
        >>> with bfloat16_autocast("cpu", enabled=False):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"amp={enabled!r}: want True or False (on a command line with a capital letter)")
    if enabled and device_type == "cpu" and not cpu_computes_bfloat16():
        enabled = False
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=enabled)


@lru_cache(maxsize=1)
def cpu_computes_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions; `True` where PyTorch cannot tell. Says so once if it has not."""
    get = getattr(torch.cpu, "get_capabilities", None)
    found = get() if get else {}
    flags = [found[name] for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16") if name in found]
    if not flags or any(flags):
        return True
    logger.info("this CPU has no bfloat16 instructions: amp=True computes in float32, which is faster here")
    return False
