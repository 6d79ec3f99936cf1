"""How images come to a network: at its side, with ImageNet's colours taken out, in its precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def resized(images: Tensor, side: int) -> Tensor:
    """Images `(B, C, S, S)` at another side: bilinear, antialiased, in [0, 1]; 0 leaves them as they are."""
    if not side or images.shape[-1] == side:
        return images
    return interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def register_imagenet_colours(module: nn.Module) -> None:
    """Give a module ImageNet's colours as buffers `mean` and `std`, `(3, 1, 1)`, which are no part of its state.

    Networks that were trained on ImageNet expect them to be taken out.
    """
    for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        module.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)


def bfloat16_autocast(device_type: str, enabled: bool = True) -> torch.autocast:
    """Autocast to bfloat16, obeyed on every device: a run says how it computed, whatever the processor.

    A CPU computes bfloat16 right, but without instructions for it (`avx512_bf16`, `amx_bf16`) several times slower than
    float32; the bundles' `amp` is therefore off on a CPU unless asked for. `TypeError` if `enabled` is no bool, as the
    "false" of a command line.
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"amp={enabled!r}: want True or False (on a command line with a capital letter)")
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=enabled)
