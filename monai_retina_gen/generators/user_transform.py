"""The user transform of StyleGAN3: moving and turning the eye before it is drawn, not after.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def inverse_transform(transform: Mapping[str, Any], *, mirrored: bool = False) -> Tensor:
    """Matrix `(3, 3)`, from places of the new image to places of the old one, of a transform as one thinks of it.

    `rotate` is in degrees counter-clockwise about the image's centre; then `translate`, `[x, y]` in shares of the
    image's side, to the right and down. `mirrored`: the image is mirrored afterwards, left to right, and is then to be
    moved and turned like this. `ValueError` for other keys, or values that are no finite numbers.

    Examples:
        >>> inverse_transform({"translate": [0.25, 0.0]})[0]
        tensor([ 1.0000, 0.0000, -0.2500])
    """
    unknown = sorted(set(transform) - {"rotate", "translate"})
    if unknown:
        raise ValueError(f"transform has {unknown}: want rotate (degrees) and translate ([x, y] in shares of the side)")
    angle, shift = transform.get("rotate", 0.0), transform.get("translate", (0.0, 0.0))
    if (
        not isinstance(shift, (list, tuple))
        or len(shift) != 2
        or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in (angle, *shift))
    ):
        raise ValueError(f"transform {dict(transform)}: want numbers, as in {{'rotate': 10, 'translate': [0.1, 0]}}")
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # y runs down, so that a turn to the left as one sees it has the sine's signs the other way round.
    matrix = torch.tensor([[cosine, sine, shift[0]], [-sine, cosine, shift[1]], [0, 0, 1]], dtype=torch.float64)
    if mirrored:
        mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
        matrix = mirror @ matrix @ mirror
    return torch.linalg.inv(matrix).float()
