"""Multi-scale SSIM (Wang et al. 2003) of the field of view: similarity of pairs, diversity of a grade."""

from __future__ import annotations

import math
from typing import Any

from pytorch_msssim import ms_ssim
from torch import Tensor

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics.diversity import Diversity, DiversityMetric, pair_diversity
from monai_retina_gen.metrics.image_pairs import PairMetric, check_image_pair

__all__ = [
    "FieldOfViewMsSsim",
    "MsSsimDiversity",
    "field_of_view_ms_ssim",
    "inscribed_square",
    "ms_ssim_diversity",
]

SCALES = 5


def inscribed_square(images: Tensor) -> Tensor:
    """The centred square inside the circle that touches the sides of square images.

    Photographs that are cropped to the field of view show the retina in that circle and black around it. The
    square leaves out the outer 36 % of the circle's area, and has no black but where the camera clipped the
    circle at top and bottom to less than 0.71 of its height.

    Args:
        images: (B, C, S, S), cropped to the field of view.

    Returns:
        (B, C, s, s), s = floor(S / sqrt(2)).

    Raises:
        monai_retina_gen.errors.ImageValueError: if the images are not square.

    Examples:
        >>> import torch
        >>> inscribed_square(torch.rand(1, 3, 256, 256)).shape
        torch.Size([1, 3, 181, 181])
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ImageValueError(f"images are {height} x {width}: pass square images, cropped to the field of view")
    side = math.floor(width / math.sqrt(2))
    start = (width - side) // 2
    return images[..., start : start + side, start : start + side]


def field_of_view_ms_ssim(preds: Tensor, target: Tensor, *, win_size: int = 11) -> Tensor:
    """MS-SSIM of each pair inside `inscribed_square`: black corners, equal in all images, would inflate it.

    A crop, not a masked mean of the SSIM map: no window of any scale then touches the black ground.

    Args:
        preds: (B, C, S, S) in [0, 1], cropped to the field of view.
        target: (B, C, S, S) in [0, 1], cropped to the field of view.
        win_size: odd side of the Gaussian window (sigma 1.5). The five scales need an inscribed square above
            16 (win_size - 1), thus images of S >= 228 with the standard 11, S >= 93 with 5; state another
            window than 11 beside the figure.

    Returns:
        (B,) in [0, 1]; 1 for identical images.

    Raises:
        monai_retina_gen.errors.ImageValueError: for images of another kind, unequal shapes, or too small.
        ValueError: for an even window.

    Examples:
        >>> import torch
        >>> x = torch.rand(2, 3, 96, 96)
        >>> field_of_view_ms_ssim(x, x, win_size=5)
        tensor([1., 1.])
    """
    check_image_pair(preds, target)
    preds, target = inscribed_square(preds), inscribed_square(target)
    smallest = (win_size - 1) * 2 ** (SCALES - 1)
    if preds.shape[-1] <= smallest:
        raise ImageValueError(
            f"the field of view's inscribed square is {preds.shape[-1]} pixels and must exceed {smallest} "
            f"for win_size = {win_size}: pass larger images or a smaller odd win_size, and state it"
        )
    return ms_ssim(preds, target, data_range=1.0, size_average=False, win_size=win_size)


def ms_ssim_diversity(images: Tensor, *, win_size: int = 11, **options: Any) -> Diversity:
    """Mean MS-SSIM over random pairs within each group: lower is more diverse.

    Real photographs of one grade are alike by layout: print their figure beside that of generated ones.

    Args:
        images: (n, C, S, S) in [0, 1], cropped to the field of view.
        win_size: see `field_of_view_ms_ssim`.
        **options: `groups`, `pairs` (1000), `seed` and `batch_size` of `pair_diversity`.

    Raises:
        ValueError: as `pair_diversity` and `field_of_view_ms_ssim`.
    """
    return pair_diversity(images, lambda a, b: field_of_view_ms_ssim(a, b, win_size=win_size), **options)


class FieldOfViewMsSsim(PairMetric):
    """Ignite metric of `field_of_view_ms_ssim`: mean over all pairs.

    Args:
        win_size: see `field_of_view_ms_ssim`.
        **kwargs: `output_transform` and `device` of `PairMetric`.
    """

    def __init__(self, *, win_size: int = 11, **kwargs: Any) -> None:
        self.win_size = win_size
        super().__init__(**kwargs)

    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        return field_of_view_ms_ssim(preds, target, win_size=self.win_size)


class MsSsimDiversity(DiversityMetric):
    """Ignite metric of `ms_ssim_diversity`: the mean over grades.

    Args:
        win_size: see `field_of_view_ms_ssim`.
        **kwargs: `pairs`, `seed`, `output_transform` and `device` of `DiversityMetric`.
    """

    def __init__(self, *, win_size: int = 11, **kwargs: Any) -> None:
        self.win_size = win_size
        super().__init__(**kwargs)

    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        return field_of_view_ms_ssim(preds, target, win_size=self.win_size)
