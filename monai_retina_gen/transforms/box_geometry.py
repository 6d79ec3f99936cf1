"""Cutting the rectangle around the retina out of an image and resizing it: what `CropToFieldOfView` is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from monai_retina_gen.data.field_of_view import FieldOfView


def box_geometry(field_of_view: FieldOfView, margin: float, *, square: bool) -> dict[str, float]:
    """Plain floats, so that batches collate."""
    top, left, height, width = field_of_view.box(margin, square=square)
    return {
        "centre_y": float(field_of_view.centre_y),
        "centre_x": float(field_of_view.centre_x),
        "radius_y": float(field_of_view.radius_y),
        "radius_x": float(field_of_view.radius_x),
        "top": float(top),
        "left": float(left),
        "box_height": float(height),
        "box_width": float(width),
        "height": float(field_of_view.height),
        "width": float(field_of_view.width),
    }


def box_size(geometry: Mapping[str, float]) -> tuple[int, int]:
    """Height and width of the box in pixels."""
    return int(geometry["box_height"]), int(geometry["box_width"])


def overlap(geometry: Mapping[str, float]) -> tuple[tuple[Any, slice, slice], tuple[Any, slice, slice]]:
    """Where box and photograph overlap: index into the photograph, index into the box."""
    frame: list[slice] = []
    box: list[slice] = []
    starts, lengths = (geometry["top"], geometry["left"]), (geometry["height"], geometry["width"])
    for start, length, side in zip(starts, lengths, box_size(geometry), strict=True):
        first, last = max(0, int(start)), min(int(length), int(start + side))
        frame.append(slice(first, max(first, last)))
        box.append(slice(first - int(start), max(first, last) - int(start)))
    return (..., frame[0], frame[1]), (..., box[0], box[1])


def cut(image: torch.Tensor, geometry: Mapping[str, float]) -> torch.Tensor:
    """The box (C, box height, box width) out of an image (C, H, W), black where it reaches outside."""
    result = image.new_zeros((len(image), *box_size(geometry)))
    frame, box = overlap(geometry)
    result[box] = image[frame]
    return result


def disc(geometry: Mapping[str, float], device: torch.device) -> torch.Tensor:
    """Pixels (1, box height, box width) of the box whose centre lies in the circle or ellipse."""
    height, width = (torch.arange(side, device=device) + 0.5 for side in box_size(geometry))
    y = (height + geometry["top"] - geometry["centre_y"]) / geometry["radius_y"]
    x = (width + geometry["left"] - geometry["centre_x"]) / geometry["radius_x"]
    return (y[:, None] ** 2 + x[None] ** 2 <= 1)[None]


def resize_to(image: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """(C, height, width), by `"bilinear"` (antialiased), `"area"` or `"nearest"` interpolation."""
    if tuple(image.shape[-2:]) == size:
        return image
    if mode == "bilinear":
        resized = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)
        return resized[0].clamp(0, 1)  # rounding only: the weights are positive and sum to one
    return F.interpolate(image[None], size=size, mode="nearest-exact" if mode == "nearest" else mode)[0]


def resize_square(image: torch.Tensor, side: int, mode: str) -> torch.Tensor:
    """(C, side, side), see `resize_to`."""
    return resize_to(image, (side, side), mode)
