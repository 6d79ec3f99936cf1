"""Finding where a fundus photograph shows the retina: a circle, or an ellipse where the photograph was squeezed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from monai_retina_gen.data.ellipse_fit import Ellipse
from monai_retina_gen.data.retina_outline import GOOD, Outline, disc, find_outline, inner_rectangle, second_eye
from monai_retina_gen.errors import ImageValueError

Array = npt.NDArray[np.floating]
_WARM = 0.35  # red minus blue, as a share of red
_GREEN, _BLUE = 0.65, 0.47  # of red, at most, in the median pixel; skin has more
_SHARE = 0.85  # of the pixels that have to be warm
_GREY = 0.03
_SEARCH_SIZE = 256  # longer side of the reduced picture
_DARK = 0.1  # grounds up to this value count as black
_DEPTH = 2  # rectangles in rectangles: a photograph with a border on a page
_POOR = 0.1  # a score below which nothing was found
_DOUBTFUL = 0.2  # a score below which frames are looked for
_LINE = 0.03  # width of lines around a picture, as a share of its shorter side
_RIM = 0.05  # width of the band along the frame that has to show retina, as a share of the shorter side
_ROUGH = 0.5  # mean step between neighbours, in spreads: a retina is smooth


def is_retina_coloured(pixels: Array) -> bool:
    """Whether pixels (N, 3) together look like a retina: most have its hue, the optic disc included."""
    red, green, blue = pixels.T
    warm = (red >= green) & (green >= 0.9 * blue) & (red - blue >= _WARM * red) & (red > 0.04)
    red, green, blue = np.median(pixels, axis=0)
    return bool(green <= _GREEN * red and blue <= _BLUE * red and warm.mean() >= _SHARE)


def is_reddish(pixels: Array) -> bool:
    """Whether the median of pixels (N, 3) is neither grey nor of another hue; wider than `is_retina_coloured`."""
    red, green, blue = np.median(pixels, axis=0)
    return bool(red > green > 0.9 * blue and red - blue > _GREY)


def colour_fault(pixels: Array, *, dark_ground: bool) -> str:
    """What is wrong with the colours of a retina (N, 3), in words; empty where nothing is."""
    red, green, blue = np.median(pixels, axis=0)
    if not (blue > green > red and blue - red > _GREY):
        return ""
    cause = "the channels come as BGR" if dark_ground else "the colours are inverted"
    return f"blue where it should be red: {cause}"


@dataclass(frozen=True)
class FieldOfView:
    """The circle or upright ellipse of the retina in a photograph.

    Coordinates are in pixels, with (0, 0) the upper left corner of the upper left pixel. `radius_x` differs from
    `radius_y` only for an ellipse, by more than 3 %.

    Attributes:
        dark_ground: whether what surrounds the retina is (nearly) black; True where nothing surrounds it.
        border_visible: False where the retina fills the whole frame; the circle then is the one through the
            frame's corners, the smallest that is sure to hold every pixel.
        colour_fault: what is wrong with the colours (channels as BGR, inverted), in words; empty where nothing is.
    """

    centre_y: float
    centre_x: float
    radius_y: float
    radius_x: float
    height: int
    width: int
    dark_ground: bool = True
    border_visible: bool = True
    colour_fault: str = ""

    @property
    def radius(self) -> float:
        """The larger of both radii: half the side of the square around the retina."""
        return max(self.radius_y, self.radius_x)

    @property
    def aspect(self) -> float:
        """Width by height of the retina: 1 for a circle, less for a landscape photograph squeezed to a square."""
        return self.radius_x / self.radius_y

    def box(self, margin: float = 0.0, *, square: bool = True) -> tuple[int, int, int, int]:
        """Rectangle around the retina as top, left, height and width, wider on every side by `margin` times the radius.

        It may reach outside the photograph; where the border is not visible it is the square around the frame. `square`
        asks for the square around an ellipse, in place of its own rectangle.
        """
        radii = [self.radius_y, self.radius_x] if self.border_visible else [max(self.height, self.width) / 2] * 2
        radii = [max(radii)] * 2 if square else radii
        sides = [max(1, round(2 * radius * (1 + margin))) for radius in radii]
        return round(self.centre_y - sides[0] / 2), round(self.centre_x - sides[1] / 2), sides[0], sides[1]


def find_field_of_view(image: torch.Tensor) -> FieldOfView:
    """Find the retina in a photograph (3, H, W) in [0, 1]. Deterministic.

    Finds it on black, white and grey ground with noise, clipped at the top, bottom or sides, with a notch on the rim
    or writing beside it, framed, in a screenshot or on a page, and squeezed or stretched up to 2.5 times. A retina that
    fills the frame is told by the colour of the frame's rim, see `FieldOfView.border_visible`.

    Raises:
        ImageValueError: under 16 pixels, no retina found (a black, constant or noise image, a section, a face), or two.
    """
    height, width = image.shape[-2:]
    if image.ndim != 3 or image.shape[0] != 3 or min(height, width) < 16:
        raise ImageValueError(f"image: shape {tuple(image.shape)} came, wanted (3, H, W) with H, W of at least 16")
    plain = image.detach().as_subclass(torch.Tensor)
    found = _search(plain, _DEPTH)
    if found is not None and found.two_eyes:
        raise ImageValueError(
            "image: two eyes on one picture; wanted one retina; cut the picture in two and give each a file of its own"
        )
    if found is None and _fills_frame(plain):
        radius = math.hypot(height, width) / 2
        return FieldOfView(height / 2, width / 2, radius, radius, height, width, border_visible=False)
    if found is None:
        raise ImageValueError(
            "image: no retina found; wanted one colour fundus photograph whose round rim shows on black, white or grey "
            "ground, or whose retina fills the frame (a black, constant or noise image, a section, a face or two eyes "
            "came?); crop the picture to the photograph, or leave the file out"
        )
    return found.field


@dataclass(frozen=True)
class _Found:
    score: float
    field: FieldOfView
    two_eyes: bool


def _search(image: torch.Tensor, depth: int) -> _Found | None:
    """The retina with a visible rim, also inside of frames, windows and pages."""
    small = _reduce(image)
    outline = find_outline(small)
    found = _found(image, small, outline) if outline is not None else None
    if not depth or (found is not None and found.score >= _DOUBTFUL):
        return found
    inner = [_search_in(image, box, depth - 1) for box in _inner_boxes(image, small)]
    return max(filter(None, [found, *inner]), key=lambda item: item.score, default=None)


def _inner_boxes(image: torch.Tensor, small: Array) -> list[tuple[int, int, int, int]]:
    """Top, bottom, left and right of where to look again: within a line around the frame, and in a rectangle."""
    height, width = image.shape[1:]
    line = round(_LINE * min(height, width))
    boxes = [(line, height - line, line, width - line)]
    rectangle = inner_rectangle(small)
    if rectangle is not None:
        scales = np.repeat([height / small.shape[0], width / small.shape[1]], 2)
        boxes.append(tuple(round(value) for value in np.array(rectangle) * scales))
    return [box for box in boxes if min(box[1] - box[0], box[3] - box[2]) >= 16]


def _search_in(image: torch.Tensor, box: tuple[int, int, int, int], depth: int) -> _Found | None:
    top, bottom, left, right = box
    inner = _search(image[:, top:bottom, left:right], depth)
    if inner is None:
        return None
    height, width = image.shape[1:]
    centre = {"centre_y": inner.field.centre_y + top, "centre_x": inner.field.centre_x + left}
    # What lies around the box is no ground for a retina: it is painted black with everything outside the rim.
    field = replace(inner.field, **centre, height=height, width=width, dark_ground=False)  # type: ignore[arg-type]
    return replace(inner, field=field)


def _reduce(image: torch.Tensor) -> Array:
    """The picture as (h, w, 3) with the longer side at most `_SEARCH_SIZE`."""
    height, width = image.shape[1:]
    scale = min(1.0, _SEARCH_SIZE / max(height, width))
    size = (max(16, round(height * scale)), max(16, round(width * scale)))
    reduced = F.interpolate(image.float()[None], size=size, mode="area")  # where the image lives; only this is copied
    small: Array = reduced[0].permute(1, 2, 0).cpu().numpy()
    return small


def _found(image: torch.Tensor, small: Array, outline: Outline) -> _Found | None:
    """The outline in pixels of the image; None where the colours of a retina and a good rim are both missing."""
    (height, width), (centre_y, centre_x, radius_y, radius_x) = image.shape[1:], outline.ellipse
    core = small[disc(small.shape[:2], Ellipse(centre_y, centre_x, 0.9 * radius_y, 0.9 * radius_x))]
    if outline.score < (_POOR if is_reddish(core) else GOOD):
        return None
    scale_y, scale_x = height / small.shape[0], width / small.shape[1]
    if radius_y == radius_x:
        scale = math.sqrt(scale_y * scale_x)
        radius_y, radius_x = radius_y * scale, radius_x * scale
    else:
        radius_y, radius_x = radius_y * scale_y, radius_x * scale_x
    dark = bool(outline.ground.max() <= _DARK)
    fault = colour_fault(core, dark_ground=dark)
    field = FieldOfView(
        centre_y * scale_y, centre_x * scale_x, radius_y, radius_x, height, width, dark, colour_fault=fault
    )
    return _Found(outline.score, field, second_eye(small, outline))


def _fills_frame(image: torch.Tensor) -> bool:
    """Whether the retina reaches the frame all around, by the colour of the rim and the smoothness of the whole."""
    small = _reduce(image)
    rectangle = inner_rectangle(small)
    if rectangle is not None:  # black bars that squared a photograph
        top, bottom, left, right = rectangle
        outside = np.ones(small.shape[:2], bool)
        outside[top - 1 : bottom + 1, left - 1 : right + 1] = False
        if outside.any() and np.quantile(small[outside], 0.99) > _DARK:
            return False
        small = small[top:bottom, left:right]
    spread, roughness = small.std(axis=(0, 1)).max(), np.abs(np.diff(small, axis=1)).mean()
    band = max(1, round(_RIM * min(small.shape[:2])))
    rim = np.ones(small.shape[:2], bool)
    rim[band:-band, band:-band] = False
    sides = [small[:band], small[-band:], small[:, :band], small[:, -band:]]
    return bool(
        spread >= 0.01
        and roughness <= _ROUGH * spread
        and is_retina_coloured(small[rim])
        and all(is_retina_coloured(side.reshape(-1, 3)) for side in sides)
    )
