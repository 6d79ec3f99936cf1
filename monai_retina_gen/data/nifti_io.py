"""NIfTI files of photographs and masks.

A photograph is stored as (W, H, 1, 3), uint8, a mask as (W, H, 1), float32. NIfTI axes run x, y, z, so the
first array axis is the column. The affine is diag(-1, -1, 1, 1): in ITK's terms the identity, one unit per
pixel, so that viewers built on ITK show the picture upright. On reading, the array is taken as it lies and the
affine is ignored.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError as NibabelFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from monai_retina_gen.errors import ImageFileError

_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
_DECODE_ERRORS = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, MemoryError, zlib.error),
    *(NibabelFileError, HeaderDataError, WrapStructError),
)


def is_nifti(path: Path) -> bool:
    """Whether the name says NIfTI: `.nii` or `.nii.gz`."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def decode_nifti(path: Path, *, max_pixels: int) -> np.ndarray:
    """Pixels (H, W) or (H, W, 3) in the dtype of the file: uint8, uint16 or floating."""
    try:
        image = (nib.Nifti2Image if _is_version_2(path) else nib.Nifti1Image).from_filename(path)
        _check_shape(path, image.shape, max_pixels)
        pixels = _unscaled(path, image)
    except ImageFileError:
        raise
    except _DECODE_ERRORS as error:
        raise ImageFileError(f"{path}: not a complete NIfTI file ({error}); copy or export it again") from error
    if pixels.dtype.names:  # RGB24: one field per colour
        pixels = np.stack([pixels[name] for name in ("R", "G", "B")], axis=-1)
    width, height = pixels.shape[:2]
    pixels = pixels.reshape(width, height, -1)
    return np.swapaxes(pixels if pixels.shape[2] == 3 else pixels[..., 0], 0, 1)


def _is_version_2(path: Path) -> bool:
    """Whether the header has the 540 bytes of NIfTI-2, by its first field, in either order of bytes."""
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        return file.read(4) in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")


def _check_shape(path: Path, shape: tuple[int, ...], max_pixels: int) -> None:
    trailing = math.prod(shape[2:])
    if len(shape) < 2 or 0 in shape or trailing not in (1, 3):
        raise ImageFileError(
            f"{path}: shape {shape} is not one picture; wanted (W, H), (W, H, 1), (W, H, 3) or (W, H, 1, 3)"
        )
    if shape[0] * shape[1] > max_pixels:
        raise ImageFileError(
            f"{path}: {shape[0]} x {shape[1]} pixels are more than max_pixels={max_pixels}; "
            "shrink the picture, or raise `max_pixels` if you trust the file"
        )


def _unscaled(path: Path, image: nib.Nifti1Image) -> np.ndarray:
    """The values as stored: a slope would turn the integers that say the bit depth into real numbers."""
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if (slope, intercept) != (1.0, 0.0):
        raise ImageFileError(
            f"{path}: scl_slope {slope:g} and scl_inter {intercept:g} are not supported; store plain uint8 values"
        )
    return np.asanyarray(image.dataobj)


def encode_nifti(pixels: np.ndarray, *, compress: bool) -> bytes:
    """NIfTI-1 bytes of pixels (H, W, 3) or (H, W); the same pixels give the same bytes."""
    columns_first = np.swapaxes(pixels, 0, 1)[:, :, np.newaxis]
    image = nib.Nifti1Image(np.ascontiguousarray(columns_first), _AFFINE)
    image.header.set_xyzt_units("unknown", "unknown")
    data: bytes = image.to_bytes()
    return gzip.compress(data, mtime=0) if compress else data
