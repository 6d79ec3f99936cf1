"""What edits are asked for, the same for all generators, and which photographs they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from monai_retina_gen.data.field_of_view import FieldOfView, find_field_of_view, is_retina_coloured
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.editing.gate_measures import DARK
from monai_retina_gen.errors import ImageValueError

GREY = 0.02
"""Mean difference of red and blue inside the retina below which a photograph has no colour."""
LOOK = 64
"""Side in pixels of the copies that are looked at first."""


@dataclass(frozen=True)
class EditRequest:
    """Edits of `B` photographs, checked: `images` `(B, 3, H, W)` in [0, 1], `strengths` `(B,)` in [-1, 1] on the CPU.

    `lesions` are such as `"ex+he"`, `""` leaves the choice to the generator; `masks` `(B, 1, H, W)` are annotated, none
    for what is not; `groups` are photographs or patients, for a cross-fitted gate.
    """

    images: Tensor
    grades: Tensor
    lesions: list[str]
    strengths: Tensor
    seeds: list[int]
    masks: Mapping[str, Tensor]
    groups: list[str | None]

    @classmethod
    def of(
        cls,
        images: Tensor,
        grades: Tensor,
        *,
        lesion: str | Sequence[str] = "",
        strength: float | Sequence[float] | Tensor = 1.0,
        seeds: Sequence[int] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> EditRequest:
        """The request of a generator's `edit`, on the device of `grades`; `ValueError` for what does not fit."""
        count, device = len(grades), grades.device
        return cls(
            images=(checked := _checked_images(images, count)).to(device),
            grades=grades,
            lesions=one_each("lesion", lesion, count),
            strengths=_checked_strengths(strength, count),
            seeds=[int(seed) for seed in one_each("seeds", 0 if seeds is None else seeds, count)],
            masks={name: _checked_mask(name, mask, checked).to(device) for name, mask in (masks or {}).items()},
            groups=one_each("groups", groups, count),
        )


def one_each(name: str, values: Any, count: int) -> list[Any]:
    """A list of `count` values; one value stands for all. `ValueError` for another number of them."""
    if isinstance(values, Tensor):
        values = values.reshape(-1).tolist()
    single = isinstance(values, str) or not isinstance(values, Sequence)
    each = [values] * count if single else list(values)
    if len(each) != count:
        raise ValueError(f"{name}: {len(each)} came for {count} images: give one for all, or one for each")
    return each


def parse_lesions(lesion: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Lesions of one edit: `"ex"`, `"ex+he"` or `("ex", "he")`; `ValueError` for one not in `known`, or named twice.

    Examples:
        >>> parse_lesions("ex+he", ["ex", "he"])
        ('ex', 'he')
    """
    names = tuple(lesion.split("+")) if isinstance(lesion, str) else tuple(lesion)
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(f"lesion {lesion!r}: want one or several of {', '.join(known)}, each once, several as 'ex+he'")
    return names


def excluded_lesions(grade: int, lesions: Sequence[str]) -> str:
    """Reason against an edit of lesions that the grade excludes (any at grade 0, all but `ma` at grade 1), or `""`.

    Examples:
        >>> excluded_lesions(1, ["ma"]), excluded_lesions(0, ["ex"])[:18]
        ('', 'grade 0 excludes e')
    """
    foreign = [name for name in lesions if name not in GRADE_LESIONS.get(grade, lesions)]
    if not foreign:
        return ""
    return f"grade {grade} excludes {', '.join(foreign)}: an edit would change the label"


def check_range(images: Tensor) -> None:
    """`ImageValueError` unless all values are finite and in [0, 1]; a GPU is waited for once."""
    if not images.numel():
        return
    low, high = torch.stack(torch.aminmax(images)).tolist()  # NaN where any is
    if not (low >= 0 and high <= 1):
        raise ImageValueError(f"images must be finite and in [0, 1], got [{low}, {high}]")


def check_retinas(images: Tensor) -> None:
    """Raise `ImageValueError` where a photograph of `(B, 3, H, H)` shows no retina, or one without colour.

    A disc of the retina's colours on dark ground, as after a crop to the field of view, is told from small copies of
    all photographs, which leave their device together; the others are searched one by one.
    """
    side = min(LOOK, *images.shape[-2:])
    small = adaptive_avg_pool2d(images.detach().as_subclass(Tensor).float(), side).permute(0, 2, 3, 1).cpu().numpy()
    for image, pixels in zip(images, small, strict=True):
        if not _is_cropped_retina(pixels):
            check_retina(image)


def _is_cropped_retina(pixels: npt.NDArray[np.floating]) -> bool:
    """Whether `(S, S, 3)` shows the retina's colours in the inscribed circle, and dark corners."""
    axis = (np.arange(len(pixels)) + 0.5) / len(pixels) * 2 - 1
    radius = np.hypot(axis[:, None], axis)
    return bool(is_retina_coloured(pixels[radius < 0.9]) and pixels[radius > 1.2].max() <= DARK)


def check_retina(image: Tensor) -> FieldOfView:
    """Where the retina of `(3, H, W)` lies; `ImageValueError` where there is none, or one without colour."""
    field = find_field_of_view(image)
    inside = image.amax(0) > DARK
    if bool(inside.any()) and float((image[0] - image[2])[inside].abs().mean()) < GREY:
        raise ImageValueError(
            "image: no colour (an angiogram, infrared or OCT picture?); edits want colour photographs of the retina"
        )
    return field


def _checked_images(images: Tensor, count: int) -> Tensor:
    if images.ndim != 4 or images.shape[:2] != (count, 3):
        raise ImageValueError(f"images {tuple(images.shape)} for {count} grades: want ({count}, 3, H, W)")
    images = images.float()
    check_range(images)
    return images


def _checked_strengths(strength: float | Sequence[float] | Tensor, count: int) -> Tensor:
    found = torch.tensor([float(x) for x in one_each("strength", strength, count)], dtype=torch.float32)
    if not bool((found.abs() <= 1).all()):  # also not a number
        raise ValueError(f"strength {found.tolist()[:8]}: want numbers in [-1, 1]")
    return found


def _checked_mask(name: str, mask: Tensor, images: Tensor) -> Tensor:
    wanted = (len(images), 1, *images.shape[-2:])
    if tuple(mask.shape) != wanted:
        raise ImageValueError(
            f"mask {name!r}: shape {tuple(mask.shape)} came for photographs {tuple(images.shape)}; wanted {wanted}: "
            "crop masks together with their photograph"
        )
    return mask.float()
