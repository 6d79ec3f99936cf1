"""Photographs and masks, read and written: PNG, JPEG, TIFF, BMP and WebP by Pillow, NIfTI by nibabel, DICOM by pydicom.

Values are scaled by the bit depth of the file, never stretched per image: the colour of a retina carries the
diagnosis. Whatever cannot be read without a guess is an `ImageFileError` that names the file and the way out.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from monai_retina_gen.data.dicom_io import decode_dicom, dicom_text, encode_dicom, is_dicom
from monai_retina_gen.data.files import write_atomically
from monai_retina_gen.data.raster_io import (
    decode_nifti,
    decode_raster,
    encode_jpeg,
    encode_nifti,
    encode_png,
    is_nifti,
    png_text,
)
from monai_retina_gen.data.record import RECORD_KEY
from monai_retina_gen.errors import ImageFileError, ImageValueError

PathLike = str | os.PathLike[str]
MAX_PIXELS = 178_956_970
"""Default limit on H x W: where Pillow itself refuses a file as a decompression bomb."""
_TWELVE_BITS = 2**12


def read_image(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> torch.Tensor:
    """Read a photograph as RGB.

    8-bit files are divided by 255, 16-bit files by 65535; floating-point files must lie in [0, 1]. The EXIF
    orientation is applied. Grey, 1-bit, palette and CMYK files become RGB; an alpha channel must be opaque
    and is dropped. NIfTI files are read as (W, H[, 1][, 3]) whatever their affine.

    Args:
        path: a PNG, JPEG, TIFF, BMP, WebP, DICOM (extra `dicom`), `.nii` or `.nii.gz` file. The content decides, except
            for NIfTI.
        max_pixels: refuse files of more than this many pixels (H x W) before decoding them.

    Returns:
        Tensor (3, H, W), float32 in [0, 1].

    Raises:
        ImageFileError: the file is missing, a directory, empty, truncated, corrupt, too large or transparent, holds
            several pictures, NaN or floats outside [0, 1], or has a depth without a defined white (12 bits in 16).

    Examples:
        >>> import tempfile, torch
        >>> file = f"{tempfile.mkdtemp()}/eye.png"
        >>> write_image(file, torch.full((3, 4, 6), 0.2))
        >>> read_image(file).shape, round(read_image(file).max().item() * 255)
        (torch.Size([3, 4, 6]), 51)
    """
    path = Path(path).expanduser()
    pixels, _ = _decode(path, max_pixels)
    values = _to_unit_range(pixels, path)
    if values.ndim == 2:
        values = np.repeat(values[..., np.newaxis], 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def read_mask(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> torch.Tensor:
    """Read a mask (1, H, W), float32: 0 outside, 1 inside, fractions for soft masks.

    Integer files whose largest value is 1 are label masks (0/1) and read as they are; all others are divided
    by 255 or 65535. Coloured masks count by their brightest channel (the official IDRiD masks are red on black).

    Raises:
        ImageFileError: as for `read_image`; also for JPEG and WebP, whose compression blurs the edges of a mask.
    """
    path = Path(path).expanduser()
    pixels, file_format = _decode(path, max_pixels)
    if file_format in ("JPEG", "MPO", "WEBP"):
        raise ImageFileError(f"{path}: {file_format} changes the values of a mask; threshold it and save it as PNG")
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    if pixels.dtype.kind in "ui" and pixels.max() == 1:
        pixels = pixels.astype(bool)
    return torch.from_numpy(np.ascontiguousarray(_to_unit_range(pixels, path)))[None]


def write_image(
    path: PathLike, image: torch.Tensor, *, text: dict[str, str] | None = None, xmp: str | None = None
) -> None:
    """Write a photograph with 8 bits per channel, in the format that the suffix names.

    The file appears complete or not at all, and the same input gives the same bytes with the same library versions.

    Args:
        path: ends in `.png`, `.jpg`, `.jpeg` (quality 95, 4:4:4), `.nii`, `.nii.gz` or `.dcm`; the folder must exist.
            DICOM is for generated images alone: `text` must hold their record (key `generated`); the file is marked
            with SyntheticData in place of the XMP packet.
        image: (3, H, W), floating point in [0, 1]; the file holds `round(255 * image)`.
        text: keyword and text of iTXt chunks; PNG and DICOM only.
        xmp: an XMP packet, kept in the iTXt chunk `XML:com.adobe.xmp`; PNG and DICOM only.

    Raises:
        ImageFileError: unknown suffix, missing folder, or text for a format that keeps none.
        ImageValueError: shape, type or values outside the convention.

    Examples:
        >>> import tempfile, torch
        >>> file = f"{tempfile.mkdtemp()}/eye.png"
        >>> write_image(file, torch.zeros(3, 8, 8), text={"seed": "7"})
        >>> read_text(file)
        {'seed': '7'}
    """
    path, pixels = Path(path), _to_bytes(image, channels=3)
    suffix = path.suffix.lower()
    if (text or xmp is not None) and suffix not in (".png", ".dcm"):
        raise ImageFileError(f"{path}: text and XMP are kept in PNG files only; end the name in .png or leave them out")
    if suffix == ".dcm":
        data = _synthetic_dicom(path, pixels, text or {})
    elif suffix == ".png":
        data = encode_png(pixels, text=text or {}, xmp=xmp)
    elif suffix in (".jpg", ".jpeg"):
        data = encode_jpeg(pixels)
    elif is_nifti(path):
        data = encode_nifti(pixels, compress=suffix == ".gz")
    else:
        raise ImageFileError(f"{path}: unknown suffix; end the name in .png, .jpg, .jpeg, .nii, .nii.gz or .dcm")
    _write_into_folder(path, data)


def write_mask(path: PathLike, mask: torch.Tensor) -> None:
    """Write a mask (1, H, W), bool or in [0, 1]: PNG with 8 bits, or NIfTI with the exact float32 values, (W, H, 1).

    Raises:
        ImageFileError: unknown suffix or missing folder.
        ImageValueError: shape, type or values outside the convention, or a PNG of a mask so faint that its
            largest value is 1/255: `read_mask` would take it for a 0/1 mask.
    """
    path = Path(path)
    mask = mask.float() if mask.dtype == torch.bool else mask
    pixels = _to_bytes(mask, channels=1)[..., 0]
    if path.suffix.lower() == ".png":
        if pixels.max() == 1:
            raise ImageValueError("mask: its largest value is 1/255, read back as 1; threshold it or write NIfTI")
        _write_into_folder(path, encode_png(pixels, text={}, xmp=None))
    elif is_nifti(path):
        values = mask.detach().cpu().float().numpy()[0]
        _write_into_folder(path, encode_nifti(values, compress=path.suffix.lower() == ".gz"))
    else:
        raise ImageFileError(f"{path}: unknown suffix for a mask; end the name in .png, .nii or .nii.gz")


def read_text(path: PathLike) -> dict[str, str]:
    """Text chunks of a PNG file, an XMP packet under `XML:com.adobe.xmp`; the record of a generated DICOM file.

    `ImageFileError` for a file that is missing, not PNG or DICOM, or corrupt.
    """
    path = Path(path).expanduser()
    _check_is_file(path)
    return dicom_text(path) if is_dicom(path) else png_text(path)


def _decode(path: Path, max_pixels: int) -> tuple[np.ndarray, str]:
    _check_is_file(path)
    if is_nifti(path):
        pixels, file_format = decode_nifti(path, max_pixels=max_pixels), "NIfTI"
    elif is_dicom(path):
        return decode_dicom(path, max_pixels=max_pixels), "DICOM"
    else:
        pixels, file_format = decode_raster(path, max_pixels=max_pixels)
    # A 16-bit file that holds fewer bits would come out dark; DICOM says how many it holds.
    if pixels.dtype == np.uint16 and 1 < pixels.max() < _TWELVE_BITS:
        raise ImageFileError(
            f"{path}: 16-bit file whose largest value is {pixels.max()}, so 12 bits or fewer are stored and white is "
            "not known; multiply by 65535 / (2 ** bits - 1) and save it again"
        )
    return pixels, file_format


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise ImageFileError(f"{path}: is a folder, wanted an image file")
    if not path.exists():
        hint = "a Windows path? write it with /" if "\\" in str(path) else "check the datalist and its base folder"
        raise ImageFileError(f"{path}: no such file; {hint} (now in {Path.cwd()})")


def _to_unit_range(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.dtype == bool:
        return pixels.astype(np.float32)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype.kind != "f":
        raise ImageFileError(
            f"{path}: {pixels.dtype} pixels have no defined white; store uint8, uint16 or floats in [0, 1]"
        )
    if not np.isfinite(pixels).all():
        raise ImageFileError(f"{path}: holds NaN or infinite values; repair or leave out the file")
    if pixels.min() < 0 or pixels.max() > 1:
        raise ImageFileError(
            f"{path}: floating-point values from {pixels.min():g} to {pixels.max():g}, wanted [0, 1]; "
            "divide by the camera's white value and store it again"
        )
    return pixels.astype(np.float32)


def _to_bytes(image: torch.Tensor, *, channels: int) -> np.ndarray:
    if not isinstance(image, torch.Tensor) or not image.is_floating_point():
        came = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
        raise ImageValueError(f"image: {came} came, wanted a floating-point tensor in [0, 1]; divide uint8 by 255")
    if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
        raise ImageValueError(f"image: shape {tuple(image.shape)} came, wanted ({channels}, H, W)")
    values = image.detach().cpu().float().numpy()
    if not (values.min() >= 0 and values.max() <= 1):  # also catches NaN
        raise ImageValueError(
            f"image: values from {values.min():g} to {values.max():g} came, wanted [0, 1]; clamp or rescale"
        )
    return np.ascontiguousarray(np.rint(values * 255).astype(np.uint8).transpose(1, 2, 0))


def _synthetic_dicom(path: Path, pixels: np.ndarray, text: dict[str, str]) -> bytes:
    if set(text) != {RECORD_KEY}:
        raise ImageFileError(
            f"{path}: DICOM files are written for generated images alone; want text with the key {RECORD_KEY!r} (their "
            f"record), got {sorted(text)}"
        )
    try:
        return encode_dicom(pixels, text[RECORD_KEY])
    except ImportError as error:
        raise ImageFileError(f'{path}: pip install "monai-retina-gen[dicom]" to write DICOM') from error


def _write_into_folder(path: Path, data: bytes) -> None:
    if not path.parent.is_dir():
        raise ImageFileError(f"{path}: the folder {path.parent} does not exist; create it first")
    write_atomically(path, data)
