"""DICOM files: ophthalmic photographs in, generated images out, marked as synthetic. Needs the extra `dicom`.

Generated images are Secondary Capture objects: SyntheticData (0008,001C) is YES, ConversionType is SYN, ImageType is
DERIVED and SECONDARY, patient and study are made up. A photograph is never written: its patient would be lost.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from monai_retina_gen.data.raster_io import check_size
from monai_retina_gen.errors import ImageFileError

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EMPTY = (
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "Laterality", "PatientOrientation"),
)


def is_dicom(path: Path) -> bool:
    """Whether the file begins as DICOM does: `DICM` after 128 bytes, or at once with an element of group 2 or 8."""
    with path.open("rb") as file:
        start = file.read(132)
    # group 0002 or 0008, then an element below 0100: how files begin that were cut out of a message
    bare = start[:2] in (b"\x02\0", b"\x08\0") and start[3:4] == b"\0" and len(start) == 132
    return bare or start[128:] == b"DICM"


def decode_dicom(path: Path, *, max_pixels: int) -> np.ndarray:
    """Pixels (H, W) or RGB (H, W, 3), uint8 or uint16; 12 and other odd depths are scaled to 16 bits."""
    dataset = _read(path)
    _check(path, dataset, max_pixels)
    try:
        from pydicom.pixels import apply_color_lut, pixel_array

        colour = dataset.PhotometricInterpretation
        pixels: np.ndarray = pixel_array(dataset)  # colour spaces of video and JPEG become RGB
        if colour == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
    except Exception as error:  # a decoder of compressed pixels may raise anything
        raise ImageFileError(f"{path}: its pixels cannot be decoded ({error}); export it uncompressed") from error
    if pixels.dtype.kind != "u":
        raise ImageFileError(f"{path}: {pixels.dtype} pixels have no defined white; wanted unsigned integers")
    white = np.iinfo(pixels.dtype).max if colour == "PALETTE COLOR" else 2 ** int(dataset.BitsStored) - 1
    if colour == "MONOCHROME1":
        pixels = white - pixels
    if white in (255, 65535) and white == np.iinfo(pixels.dtype).max:
        return pixels
    return np.rint(np.minimum(pixels, white).astype(np.float64) * (65535 / white)).astype(np.uint16)


def encode_dicom(pixels: np.ndarray, record: str) -> bytes:
    """A generated image, uint8 (H, W, 3), with its record (JSON) in ImageComments; equal arguments give equal bytes."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import generate_uid

    entropy = [hashlib.sha256(pixels.tobytes()).hexdigest(), record]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SECONDARY_CAPTURE
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*entropy, "instance"])
    meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    for keyword, value in _elements(pixels, record).items():
        setattr(file, keyword, value)
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID = generate_uid(entropy_srcs=[*entropy, "study"])
    file.SeriesInstanceUID = generate_uid(entropy_srcs=[*entropy, "series"])
    file.PixelData = pixels.tobytes() + bytes(pixels.size % 2)
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_text(path: Path) -> dict[str, str]:
    """The record of a generated image under `generated`; empty for a file that is not marked as synthetic."""
    dataset = _read(path)
    if dataset.get("SyntheticData") != "YES" or not dataset.get("ImageComments"):
        return {}
    return {"generated": str(dataset.ImageComments)}


def _read(path: Path) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ImageFileError(f'{path} is DICOM: pip install "monai-retina-gen[dicom]" to read it') from error
    try:
        dataset = pydicom.dcmread(path, force=True)  # also without the 128 bytes and `DICM` in front
        if "TransferSyntaxUID" not in dataset.file_meta:
            explicit = dataset.original_encoding[0] is False
            dataset.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN if explicit else IMPLICIT_LITTLE_ENDIAN
        return dataset
    except Exception as error:  # damaged files raise whatever the damage leads to
        raise ImageFileError(f"{path}: not a complete DICOM file ({error}); copy or export it again") from error


def _check(path: Path, dataset: Any, max_pixels: int) -> None:
    try:
        rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
        frames, signed = int(dataset.get("NumberOfFrames") or 1), int(dataset.PixelRepresentation)
        depth, _ = int(dataset.BitsStored), dataset.PhotometricInterpretation
    except Exception as error:  # elements are decoded when they are asked for, damaged ones too
        raise ImageFileError(f"{path}: this DICOM file holds no picture ({error})") from error
    if frames != 1 or samples not in (1, 3) or signed or not 1 < depth <= 16:
        raise ImageFileError(
            f"{path}: {frames} frames of {samples} channels with {depth} bits{', signed' if signed else ''}; "
            "wanted one photograph, grey or colour, unsigned"
        )
    check_size(path, columns, rows, max_pixels)


def _elements(pixels: np.ndarray, record: str) -> dict[str, Any]:
    """What says that no patient is shown, how the image was made, and how its pixels lie."""
    known = json.loads(record)
    made = " ".join(str(known.get(key, "")) for key in ("generator", "version", "mode")).strip()
    return {
        **dict.fromkeys(EMPTY, ""),
        "SOPClassUID": SECONDARY_CAPTURE,
        "SyntheticData": "YES",
        "ImageType": ["DERIVED", "SECONDARY"],
        "ConversionType": "SYN",
        "Modality": "OP",
        "Manufacturer": "monai_retina_gen",
        "ManufacturerModelName": str(known.get("generator", ""))[:64],
        "PatientName": "Synthetic",
        "PatientID": "SYNTHETIC",
        "SeriesNumber": None,
        "InstanceNumber": 1,
        "SeriesDescription": "Synthetic image, not a patient",
        "DerivationDescription": f"Made by {made}. Not for clinical use."[:1024],
        "ImageComments": record,
        "SpecificCharacterSet": "ISO_IR 192",
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
    }
