"""Generated images at the size of the items that they replace; never enlarged unasked."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.errors import ImageValueError

__all__ = ["check_size", "fitted"]


def fitted(image: Tensor, size: Sequence[int], *, allow_upsampling: bool = False) -> Tensor:
    """Images or masks `(B, C, S, S)` at another size, in [0, 1].

    Raises:
        ImageValueError: see `check_size`.

    Examples:
        >>> import torch
        >>> fitted(torch.ones(1, 3, 8, 8), (4, 4)).shape
        torch.Size([1, 3, 4, 4])
    """
    have = tuple(image.shape[-2:])
    if have == tuple(size):
        return image
    check_size(have, size, allow_upsampling=allow_upsampling)
    return interpolate(image, tuple(size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def check_size(have: Sequence[int], size: Sequence[int], *, allow_upsampling: bool = False) -> None:
    """Raise `ImageValueError` where images of size `have` cannot stand in for items of `size`."""
    if size[0] != size[1]:
        raise ImageValueError(
            f"items of {size[0]} x {size[1]} cannot take a generated square image; crop them with "
            "CropToFieldOfView[d](size=...) first"
        )
    if size[0] > have[0] and not allow_upsampling:
        raise ImageValueError(
            f"items of {size[0]} px are larger than the generator's {have[0]} px, whose images would be enlarged "
            f"to blur: resize the items to {have[0]} px before this transform, or pass allow_upsampling=True"
        )
