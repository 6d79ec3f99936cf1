"""Cutting the square around a circle out of an image and resizing it: what `CropToFieldOfView` is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from monai_retina_gen.data.field_of_view import FieldOfView

__all__ = ["box_geometry", "cut", "disc", "overlap", "plain_tensor", "reorder", "resize_square"]


def box_geometry(field_of_view: FieldOfView, margin: float) -> dict[str, float]:
    """Plain floats, so that batches collate."""
    top, left, side, _ = field_of_view.box(margin)
    return {
        "centre_y": float(field_of_view.centre_y),
        "centre_x": float(field_of_view.centre_x),
        "radius": float(field_of_view.radius),
        "top": float(top),
        "left": float(left),
        "side": float(side),
        "height": float(field_of_view.height),
        "width": float(field_of_view.width),
    }


def plain_tensor(image: torch.Tensor) -> torch.Tensor:
    """The image as a float32 tensor without metadata."""
    return torch.as_tensor(image).as_subclass(torch.Tensor).float()


def reorder(image: torch.Tensor, order: str) -> torch.Tensor:
    """(C, H, W) from the given order, and back."""
    return image if order == "CHW" else image.transpose(-1, -2)


def overlap(geometry: Mapping[str, float]) -> tuple[tuple[Any, slice, slice], tuple[Any, slice, slice]]:
    """Where box and photograph overlap: index into the photograph, index into the box."""
    frame: list[slice] = []
    box: list[slice] = []
    for start, length in ((geometry["top"], geometry["height"]), (geometry["left"], geometry["width"])):
        first, last = max(0, int(start)), min(int(length), int(start + geometry["side"]))
        frame.append(slice(first, max(first, last)))
        box.append(slice(first - int(start), max(first, last) - int(start)))
    return (..., frame[0], frame[1]), (..., box[0], box[1])


def cut(image: torch.Tensor, geometry: Mapping[str, float]) -> torch.Tensor:
    """The box (C, side, side) out of an image (C, H, W), black where it reaches outside."""
    side = int(geometry["side"])
    result = image.new_zeros((len(image), side, side))
    frame, box = overlap(geometry)
    result[box] = image[frame]
    return result


def disc(geometry: Mapping[str, float]) -> torch.Tensor:
    """Pixels (1, side, side) of the box whose centre lies in the circle."""
    along = torch.arange(int(geometry["side"])) + 0.5
    y = along + geometry["top"] - geometry["centre_y"]
    x = along + geometry["left"] - geometry["centre_x"]
    return (y[:, None] ** 2 + x[None] ** 2 <= geometry["radius"] ** 2)[None]


def resize_square(image: torch.Tensor, side: int, mode: str) -> torch.Tensor:
    """(C, side, side), by `"bilinear"` (antialiased), `"area"` or `"nearest"` interpolation."""
    if image.shape[-2:] == (side, side):
        return image
    if mode == "bilinear":
        resized = F.interpolate(image[None], size=(side, side), mode="bilinear", antialias=True)
        return resized[0].clamp(0, 1)  # rounding only: the weights are positive and sum to one
    return F.interpolate(image[None], size=(side, side), mode="nearest-exact" if mode == "nearest" else mode)[0]
