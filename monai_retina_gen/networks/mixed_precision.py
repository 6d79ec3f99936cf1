"""Mixed precision: bfloat16 on every device that is asked for it."""

from __future__ import annotations

import torch


def bfloat16_autocast(device_type: str, enabled: bool = True) -> torch.autocast:
    """Autocast to bfloat16, obeyed on every device: a run says how it computed, whatever the processor.

    A CPU computes bfloat16 right, but without instructions for it (`avx512_bf16`, `amx_bf16`) several times slower than
    float32; the bundles' `amp` is therefore off on a CPU unless asked for. `TypeError` if `enabled` is no bool, as the
    "false" of a command line.
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"amp={enabled!r}: want True or False (on a command line with a capital letter)")
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=enabled)
