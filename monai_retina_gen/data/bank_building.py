"""Builds lesion banks from the masks of photographs. What cannot be a lesion is a false alarm and is left out.

That is: what the photograph's grade excludes, what lies on the disc or outside the field of view; and of predicted
pieces those along the rim, around the disc, larger than annotated ones of the grade, or not seen in the photograph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from tqdm import tqdm

from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.ellipse_fit import Ellipse
from monai_retina_gen.data.eye_geometry import EyeGeometry, inner_field
from monai_retina_gen.data.field_of_view import find_field_of_view
from monai_retina_gen.data.grades import icdr_grade
from monai_retina_gen.data.image_io import read_image, read_mask
from monai_retina_gen.data.lesion_bank import LesionBank, starts
from monai_retina_gen.data.lesion_choice import lesion_limits
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, LESION_MASKS, TOGETHER, annotated_lesions, merge_masks
from monai_retina_gen.data.retina_outline import disc as within
from monai_retina_gen.errors import DatalistError, ImageFileError, ImageValueError

Array = npt.NDArray[Any]
BRIGHT = ("ex", "se")
"""Lesions that are brighter than the retina; the others are darker."""

RING = 5
"""Distance in pixels to which the surroundings of a piece reach."""

WITHIN_SLICE = np.zeros((3, 3, 3), bool)
WITHIN_SLICE[1] = True


def piece_contrast(image: Tensor, mask: Tensor, lesions: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast of every connected piece of a mask `(B, 1, H, W)` against its ring, in the green channel.

    `lesions` belong to no ring. Returns labels `(B, 1, H, W)`, 0 for no piece, and the contrast of the pieces 0, 1, ...
    as a share of the ring's value, 0 where a piece has no ring.
    """
    numbers, count = ndimage.label(mask[:, 0].cpu().numpy(), WITHIN_SLICE)
    labels = torch.from_numpy(numbers.astype(np.int64))[:, None].to(image.device)
    near = max_pool2d(labels.double(), 2 * RING + 1, stride=1, padding=RING).long()
    near = near.masked_fill(max_pool2d(lesions.float(), 3, stride=1, padding=1) > 0, 0)
    inside, around = (_means(image[:, 1:2], places, count + 1) for places in (labels, near))
    difference = torch.where(around > 0, inside / around.clamp(min=1e-3) - 1, torch.zeros_like(around))
    difference[0] = 0
    return labels, difference


def _means(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean of all values with each label."""
    places, zeros = labels.flatten(), values.new_zeros(count)
    total = zeros.index_add(0, places, values.flatten())
    return total / zeros.index_add(0, places, torch.ones_like(values).flatten()).clamp(min=1)


RIM = 0.03  # radii of the field of view in which segmenters take the rim's glare and shadow for lesions
ON_DISC = 0.5  # share of a piece on the optic disc from which on it is a false alarm
AROUND_DISC = 1.3  # disc radii within which predicted pieces are the disc's own: its cup, its rim, its vessels
SAME_SIZE = 0.03  # masks within this share of the wanted diameter are taken as they are: nothing is resampled
SHOWS = 0.03  # contrast against the surroundings from which on a predicted piece is seen


@dataclass(frozen=True)
class EyeMasks:
    """Masks of one eye, bool `(H, W)`, geometry in their pixels; `disc` is empty where unknown, lesions are by name."""

    geometry: EyeGeometry
    field: Array
    disc: Array
    lesions: Mapping[str, Array]
    annotated: frozenset[str]


def read_eye_masks(item: Item, predicted: Item | None, *, diameter: int, threshold: float = 0.5) -> EyeMasks | None:
    """Read the masks of a photograph, its field of view `diameter` pixels wide.

    None for one without the mask of any lesion; without `fov` the field of view is found in the photograph.
    """
    merged = merge_masks(item, predicted)
    names = [name for name in LESION_MASKS if name in merged]
    if not names:
        return None
    planes = {key: read_mask(merged[key])[0].numpy() for key in (*names, "fov", "od") if key in merged}
    if "fov" not in planes:
        planes["fov"] = _found_field(merged["image"])
    if len({plane.shape for plane in planes.values()}) > 1:
        each = ", ".join(f"{key} {plane.shape}" for key, plane in planes.items())
        raise ImageFileError(f"{item['image']}: its masks differ in size ({each}); export them at one size")
    factor = diameter / (2 * EyeGeometry.from_masks(planes["fov"]).radius)
    hard = {key: _resized(plane, factor) >= threshold for key, plane in planes.items()}
    disc = hard.get("od", np.zeros_like(hard["fov"]))
    return EyeMasks(
        geometry=EyeGeometry.from_masks(hard["fov"], disc),
        field=hard["fov"],
        disc=disc,
        lesions={name: hard[name] for name in names},
        annotated=annotated_lesions(item),
    )


def _found_field(path: str) -> Array:
    try:
        field = find_field_of_view(read_image(path))
    except ImageValueError as error:
        raise ImageFileError(f"{path}: {error}") from error
    ellipse = Ellipse(field.centre_y, field.centre_x, field.radius_y, field.radius_x)
    return within((field.height, field.width), ellipse).astype(np.float32)


def _resized(plane: Array, factor: float) -> Array:
    if abs(factor - 1) <= SAME_SIZE:
        return plane
    size = [max(1, round(side * factor)) for side in plane.shape]
    mode: dict[str, Any] = {"mode": "area"} if factor < 1 else {"mode": "bilinear", "align_corners": False}
    return np.asarray(interpolate(torch.from_numpy(plane)[None, None], size, **mode)[0, 0])


def build_lesion_bank(
    items: Sequence[Item],
    *,
    predicted: Sequence[Item] = (),
    diameter: int = 512,
    min_area: int = 3,
    threshold: float = 0.5,
    progress: bool = False,
) -> LesionBank:
    """Collect the lesions of graded photographs; annotated masks win over predicted ones (`annotated_lesions`).

    Left out are pieces that the grade excludes (`GRADE_LESIONS`), that lie mostly on the optic disc or outside the
    field of view, and predicted ones along the rim, around the disc, that do not show, or that are larger than
    annotated ones.

    Args:
        items: items of a datalist with `grade` and masks (`fov`, `od` and lesions, as paths).
        predicted: items of the same photographs with predicted masks, of `segment` or `model activation-maps`.
        diameter: of the field of view in pixels at which pieces are kept; masks of other sizes are resized.
        min_area: smallest piece in pixels at `diameter`.
        threshold: share of a pixel from which on it is inside.
        progress: show a bar.

    Raises:
        DatalistError: if no item has a grade and the mask of a lesion.
    """
    second: dict[str, Item] = {}
    for item in predicted:  # `segment` and `model activation-maps` name different masks of one photograph
        second[item["image"]] = {**second.get(item["image"], {}), **item}
    graded = [item for item in items if "grade" in item]
    options: dict[str, Any] = {"diameter": diameter, "min_area": min_area, "threshold": threshold}
    bar = tqdm(graded, desc="lesion bank", unit="photograph", disable=not progress)
    eyes = [eye for item in bar if (eye := eye_lesions(item, second.get(item["image"]), **options)) is not None]
    return bank_of_eyes(eyes, items)


def eye_lesions(
    item: Item, predicted: Item | None, *, diameter: int = 512, min_area: int = 3, threshold: float = 0.5
) -> LesionBank | None:
    """Lesions of one graded photograph, large ones too; `None` without a mask of any. See `build_lesion_bank`."""
    masks = read_eye_masks(item, predicted, diameter=diameter, threshold=threshold)
    if masks is None:
        return None
    seen, name = confirmed(masks, item["image"]), Path(item["image"]).stem
    return eye_bank(name, icdr_grade(item), seen, diameter=diameter, min_area=min_area)


def bank_of_eyes(eyes: Sequence[LesionBank], items: Sequence[Item]) -> LesionBank:
    """The bank of several eyes' lesions; `DatalistError` where none of the `items` had any masks."""
    if not eyes:
        raise DatalistError(
            f"no photograph with a grade and a mask of {', '.join(LESION_MASKS)} among {len(items)} items; run "
            "`monai-retina-gen segment` for predicted ones"
        )
    return without_outsized(LesionBank.joined(eyes))


def confirmed(masks: EyeMasks, photograph: str) -> EyeMasks:
    """The masks without predicted pieces that do not show: less contrast to their ring than 3 % of its green."""
    predicted = {name: mask for name, mask in masks.lesions.items() if name in TOGETHER and name not in masks.annotated}
    if not any(mask.any() for mask in predicted.values()):
        return masks
    size, image = masks.field.shape, read_image(photograph)[None]
    image = interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
    lesions = np.any(list(masks.lesions.values()), axis=0)
    found = {name: _shown(image, name, mask, lesions) for name, mask in predicted.items()}
    return replace(masks, lesions={**masks.lesions, **found})


def _shown(image: Tensor, name: str, mask: Array, lesions: Array) -> Array:
    planes = (torch.from_numpy(plane)[None, None] for plane in (mask, lesions))
    labels, contrast = piece_contrast(image, *planes)
    seen = (contrast if name in BRIGHT else -contrast) >= SHOWS
    return np.asarray(mask & seen[labels][0, 0].numpy())


def without_outsized(bank: LesionBank) -> LesionBank:
    """The bank without predicted pieces that are larger than those annotated in eyes of the grade (`lesion_limits`)."""
    limits, grade = lesion_limits(bank), bank.grade[bank.eye]
    large = limits.annotated[grade, bank.kind] & (bank.area > limits.piece[grade, bank.kind])
    return bank.only(bank.annotated[bank.eye] | ~large)


def eye_bank(name: str, grade: int, masks: EyeMasks, *, diameter: int, min_area: int) -> LesionBank:
    """The bank of one eye that is in memory, its masks at `diameter`."""
    eye, pieces = masks.geometry, _pieces(masks, grade, min_area)
    axes = eye.to_eye(np.array([eye.disc or (np.nan, np.nan), eye.centre])).astype(np.float32)
    return LesionBank(
        diameter=diameter,
        name=np.array([name]),
        grade=np.array([grade], np.int64),
        annotated=np.array([not masks.annotated.isdisjoint(TOGETHER)]),
        disc=axes[:1],
        field=axes[1:],
        eye=np.zeros(len(pieces), np.int64),
        kind=np.array([kind for kind, _, _ in pieces], np.int64),
        position=np.array([middle for _, middle, _ in pieces], np.float32).reshape(-1, 2),
        start=starts([len(offsets) for _, _, offsets in pieces]),
        pixels=np.concatenate([offsets for _, _, offsets in pieces] or [np.zeros((0, 2))]).astype(np.int16),
    )


def _pieces(masks: EyeMasks, grade: int, min_area: int) -> list[tuple[int, Array, Array]]:
    """Lesion, middle in the eye's axes and pixel offsets of every piece that the grade allows."""
    found = []
    middle = inner_field(masks.field, RIM * masks.geometry.radius)  # predictions along the rim are false alarms
    for name in GRADE_LESIONS[grade]:
        # Membranes often start at the disc; everything else on it is the disc's own brightness or vessels.
        off_limits = np.zeros_like(masks.field) if name == "membrane" else masks.disc
        known = name in masks.annotated or name == "membrane"
        field = masks.field if name in masks.annotated else middle
        for where in _components(masks.lesions.get(name)):
            inside, covers = (plane[where[:, 1], where[:, 0]].mean() for plane in (field, off_limits))
            if len(where) >= min_area and inside > 0.5 and covers <= ON_DISC and (known or not _at_disc(where, masks)):
                found.append((LESION_MASKS.index(name), *_normalised(where, masks.geometry)))
    return found


def _at_disc(where: Array, masks: EyeMasks) -> bool:
    """Whether the middle of a piece lies on the disc or close to its edge."""
    disc = masks.geometry.disc
    reach = AROUND_DISC * masks.geometry.disc_radius
    return disc is not None and bool(np.hypot(*(where.mean(0) + 0.5 - np.array(disc))) < reach)


def _components(mask: Array | None) -> list[Array]:
    """Pixels (N, 2), as x and y, of every 8-connected piece."""
    if mask is None:
        return []
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    rows, columns = np.nonzero(labels)
    order = np.argsort(labels[rows, columns], kind="stable")
    sizes = np.bincount(labels[rows, columns], minlength=count + 1)[1:]
    return np.split(np.stack([columns, rows], 1)[order], np.cumsum(sizes)[:-1]) if count else []


def _normalised(where: Array, eye: EyeGeometry) -> tuple[Array, Array]:
    middle = np.round(where.mean(0))
    offsets = (where - middle) * np.array([eye.temporal, 1])
    return eye.to_eye(middle[None] + 0.5)[0], offsets
