"""Mean and standard deviation of ImageNet's colours, which networks trained there expect to be taken out."""

from __future__ import annotations

import torch
from torch import nn

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def register_imagenet_colours(module: nn.Module) -> None:
    """Give a module the buffers `mean` and `std`, `(3, 1, 1)`, which are no part of its state."""
    for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        module.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
