"""What the colours of a picture say: retina, grey, channels in the wrong order, or something else.

Limits are from every third photograph of IDRiD, HRF and CHASE_DB1 (224): in the median pixel of a retina green is 0.24
to 0.61 of red and blue 0 to 0.45 of red; in every photograph at least 87 % of the pixels are as red as `is_warm` asks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["colour_fault", "is_reddish", "is_retina_coloured", "is_warm"]

Array = npt.NDArray[np.floating]
_WARM = 0.35  # red minus blue, as a share of red
_GREEN, _BLUE = 0.65, 0.47  # of red, at most, in the median pixel; skin has more
_SHARE = 0.85  # of the pixels that have to be warm
_GREY = 0.03


def is_warm(pixels: Array) -> npt.NDArray[np.bool_]:
    """Whether pixels (..., 3) have a hue of the retina, the optic disc included."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return np.asarray((red >= green) & (green >= 0.9 * blue) & (red - blue >= _WARM * red) & (red > 0.04))


def is_retina_coloured(pixels: Array) -> bool:
    """Whether pixels (N, 3) together look like a retina."""
    red, green, blue = np.median(pixels, axis=0)
    return bool(green <= _GREEN * red and blue <= _BLUE * red and is_warm(pixels).mean() >= _SHARE)


def is_reddish(pixels: Array) -> bool:
    """Whether the median of pixels (N, 3) is neither grey nor of another hue; wider than `is_retina_coloured`."""
    red, green, blue = np.median(pixels, axis=0)
    return bool(red > green > 0.9 * blue and red - blue > _GREY)


def colour_fault(pixels: Array, *, dark_ground: bool) -> str:
    """What is wrong with the colours of a retina (N, 3), in words; empty where nothing is.

    Examples:
        >>> colour_fault(np.array([[0.1, 0.3, 0.6]]), dark_ground=True)
        'blue where it should be red: the channels come as BGR'
    """
    red, green, blue = np.median(pixels, axis=0)
    if not (blue > green > red and blue - red > _GREY):
        return ""
    cause = "the channels come as BGR" if dark_ground else "the colours are inverted"
    return f"blue where it should be red: {cause}"
