"""Decoding PNG, JPEG, TIFF, BMP, WebP and NIfTI files, and encoding PNG, JPEG and NIfTI, in the bit depth of the file.

Pillow does the work, with one exception: it reduces 16-bit colour PNG to 8 bit, so torchvision (libpng)
decodes every 16-bit PNG.

NIfTI holds a photograph as (W, H, 1, 3), uint8, and a mask as (W, H, 1), float32: its axes run x, y, z, so the first
array axis is the column. The affine is diag(-1, -1, 1, 1): in ITK's terms the identity, one unit per pixel, so that
viewers built on ITK show the picture upright. On reading, the array is taken as it lies and the affine is ignored.
"""

from __future__ import annotations

import gzip
import io
import math
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin

from monai_retina_gen.errors import ImageFileError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
XMP_KEYWORD = "XML:com.adobe.xmp"
_EXPORT_HINT = "export the file again as 8- or 16-bit PNG"
_BITS_PER_SAMPLE = 258  # TIFF tag
_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def decode_raster(path: Path, *, max_pixels: int) -> tuple[np.ndarray, str]:
    """Pixels of a file in its own bit depth, upright after EXIF, and the name of its format.

    (H, W, 3), or (H, W) for grey files, of bool, uint8, uint16 or float32; `ImageFileError` for everything that is no
    single, complete, opaque picture of known depth.
    """
    data = path.read_bytes()
    if not data:
        raise ImageFileError(f"{path}: the file is empty (0 bytes); copy or download it again")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, path, max_pixels)
            return _pixels(image, data, path), str(image.format)
    except (ImageFileError, ImportError, MemoryError):  # the last two are no fault of the file
        raise
    except Image.DecompressionBombError as error:
        raise ImageFileError(
            f"{path}: {error}; raise `max_pixels` and `PIL.Image.MAX_IMAGE_PIXELS` if you trust the file"
        ) from error
    except Exception as error:  # damaged files raise whatever the damage leads to
        raise ImageFileError(
            f"{path}: not a complete {', '.join(FORMATS)} file ({error}); copy or download it again"
        ) from error


def _check_header(image: Image.Image, path: Path, max_pixels: int) -> None:
    width, height = image.size
    if width * height == 0:
        raise ImageFileError(f"{path}: the picture has no pixels ({width} x {height}); {_EXPORT_HINT}")
    check_size(path, width, height, max_pixels)
    # The second picture of an MPO file (a JPEG as some cameras write it) is a preview of the first.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageFileError(f"{path}: holds {frames} pictures, wanted one; save each as a file of its own")


def check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture that is larger than allowed, before it is decoded."""
    if width * height > max_pixels:
        raise ImageFileError(
            f"{path}: {width} x {height} pixels are more than max_pixels={max_pixels}; "
            "shrink the picture, or raise `max_pixels` if you trust the file"
        )


def _pixels(image: Image.Image, data: bytes, path: Path) -> np.ndarray:
    if image.format == "PNG" and data[24] == 16:  # bit depth in the IHDR chunk
        image.load()  # refuses truncated data and wrong checksums before libpng sees the file
        return _decode_png16(data, path)
    depths = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    if len(depths) > 1 and max(depths) > 8:
        raise ImageFileError(f"{path}: colour TIFF of {max(depths)} bits is not supported; {_EXPORT_HINT}")
    upright = ImageOps.exif_transpose(image)
    mode = upright.mode
    if mode in ("1", "L", "F"):
        return np.array(upright)
    if mode.startswith("I;16"):
        return np.asarray(upright).astype(np.uint16)
    if mode == "I":
        raise ImageFileError(f"{path}: 32-bit integer pixels have no defined white; {_EXPORT_HINT}")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in upright.info:
        return _opaque(np.array(upright.convert("RGBA")), path)
    return np.array(upright.convert("RGB"))


def _decode_png16(data: bytes, path: Path) -> np.ndarray:
    from torchvision.io import ImageReadMode, decode_png  # slow to import and rarely needed

    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    pixels = decode_png(buffer, ImageReadMode.RGB_ALPHA, apply_exif_orientation=True)
    return _opaque(pixels.permute(1, 2, 0).numpy(), path)


def _opaque(rgba: np.ndarray, path: Path) -> np.ndarray:
    """The colours, provided that no pixel is transparent: what colour such a pixel has is anybody's guess."""
    transparent = int((rgba[..., 3] < np.iinfo(rgba.dtype).max).sum())
    if transparent:
        raise ImageFileError(
            f"{path}: {transparent} pixels are transparent, so their colour is not defined; "
            "flatten the picture onto its ground and save it without an alpha channel"
        )
    return rgba[..., :3]


def encode_png(pixels: np.ndarray, *, text: dict[str, str], xmp: str | None) -> bytes:
    """PNG of uint8 pixels (H, W, 3) or (H, W), with international text chunks."""
    info = PngImagePlugin.PngInfo()
    for keyword, value in text.items():
        info.add_itxt(keyword, value)
    if xmp is not None:
        info.add_itxt(XMP_KEYWORD, xmp)
    return _encode(pixels, format="PNG", pnginfo=info)


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """JPEG of uint8 pixels (H, W, 3): quality 95, colour at full resolution (4:4:4)."""
    return _encode(pixels, format="JPEG", quality=95, subsampling=0)


def _encode(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def png_text(path: str | os.PathLike[str]) -> dict[str, str]:
    """All text chunks of a PNG file, the XMP packet among them under `XML:com.adobe.xmp`."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return {str(key): str(value) for key, value in image.text.items()}  # type: ignore[attr-defined]
    except Exception as error:  # damaged files raise whatever the damage leads to
        raise ImageFileError(f"{path}: not a complete PNG file ({error}); text is kept in PNG files only") from error


def is_nifti(path: Path) -> bool:
    """Whether the name says NIfTI: `.nii` or `.nii.gz`."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def decode_nifti(path: Path, *, max_pixels: int) -> np.ndarray:
    """Pixels (H, W) or (H, W, 3) in the dtype of the file: uint8, uint16 or floating."""
    try:
        image = nib.load(path)  # of version 1 or 2
        _check_shape(path, image.shape, max_pixels)
        pixels = _unscaled(path, image)
    except ImageFileError:
        raise
    except Exception as error:  # damaged files raise whatever the damage leads to
        raise ImageFileError(f"{path}: not a complete NIfTI file ({error}); copy or export it again") from error
    if pixels.dtype.names:  # RGB24: one field per colour
        pixels = np.stack([pixels[name] for name in ("R", "G", "B")], axis=-1)
    width, height = pixels.shape[:2]
    pixels = pixels.reshape(width, height, -1)
    return np.swapaxes(pixels if pixels.shape[2] == 3 else pixels[..., 0], 0, 1)


def _check_shape(path: Path, shape: tuple[int, ...], max_pixels: int) -> None:
    trailing = math.prod(shape[2:])
    if len(shape) < 2 or 0 in shape or trailing not in (1, 3):
        raise ImageFileError(
            f"{path}: shape {shape} is not one picture; wanted (W, H), (W, H, 1), (W, H, 3) or (W, H, 1, 3)"
        )
    check_size(path, shape[0], shape[1], max_pixels)


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
