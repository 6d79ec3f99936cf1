"""Errors of the package: each names the file or argument, what came, what is wanted and what to do.

All derive from a built-in class as well (`ValueError`, `RuntimeError`...), so that callers who do not know
this package catch them where they expect to.
"""

from __future__ import annotations

__all__ = [
    "BundleNotFoundError",
    "DatalistError",
    "ImageFileError",
    "ImageValueError",
    "TrainingDivergedError",
    "UnsupportedModeError",
    "UntrustedConfigError",
    "WeightsError",
    "ZooError",
    "ZooUnavailableError",
]


class ImageFileError(ValueError):
    """An image file that cannot be read as a photograph: missing, corrupt, empty or too large. Names the path."""


class ImageValueError(ValueError):
    """An image tensor outside the package's convention: shape, channel count, range, NaN or unknown axis order."""


class DatalistError(ValueError):
    """A datalist or data set folder with missing files, duplicate photographs or grades outside the scale."""


class BundleNotFoundError(FileNotFoundError):
    """No bundle of that name: lists every place that was searched and how to get the bundle."""


class WeightsError(RuntimeError):
    """Weights that are missing, truncated, not a plain state dict, or whose sha256 is not the pinned one."""


class UntrustedConfigError(RuntimeError):
    """A bundle configuration that would run code which is not a network, generator or transform we know."""


class UnsupportedModeError(RuntimeError):
    """A generator was asked for a mode that it lacks; names the generators which have it."""


class TrainingDivergedError(RuntimeError):
    """A training whose loss is NaN or infinite; names the iteration and the last good checkpoint."""


class ZooError(RuntimeError):
    """A zoo, archive or index that is damaged, hostile or not what it says; nothing of it was installed."""


class ZooUnavailableError(ZooError):
    """No zoo can be asked, or it lacks the bundle: none is set, it does not answer, or downloads are forbidden."""
