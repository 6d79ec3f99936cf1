"""Styles of photographs and of their painted versions, for directions by the preset `pairs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.transforms import StackVersionsd

__all__ = ["styles_of_pairs"]


def styles_of_pairs(
    generator: StyleGAN3Generator, items: Sequence[Mapping[Any, Any]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Styles `(N, K)` of eyes without their lesions and with painted ones, by the lesion that was painted.

    Args:
        generator: with an inverter.
        items: `image` `(3, S, S)` in [0, 1], cropped, of the generator's side; `grade`; `versions` as `with_versions`
            gives them.

    Raises:
        UnsupportedModeError: for a generator that inverts no photographs.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for item in items:
        listed = item["versions"]
        stack = StackVersionsd("image", count=len(listed) + 1)(item)["versions"].float() / 255
        styles = generator.encode(stack).cpu()
        # the stack begins with the eye without lesions, then the others in their order
        names = [each["lesion"] for each in listed if each["lesion"]]
        for lesion, row in zip(names, styles[len(styles) - len(names) :], strict=True):
            found.setdefault(lesion, []).append((styles[0], row))
    sides = {lesion: tuple(zip(*rows, strict=True)) for lesion, rows in found.items()}
    return {lesion: (torch.stack(without), torch.stack(painted)) for lesion, (without, painted) in sides.items()}
