"""DICOM: photographs as cameras write them, generated images marked as synthetic, damaged and foreign files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from monai_retina_gen.data import read_mask, read_record, read_text, write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import ImageFileError
from monai_retina_gen.generators import load_generator
from monai_retina_gen.transforms import LoadFundus

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

OPHTHALMIC_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"


def _camera_file(path: Path, pixels: np.ndarray, *, photometric: str = "RGB", bits: int = 8, **more: Any) -> Path:
    """An ophthalmic photograph written by pydicom alone."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = OPHTHALMIC_8_BIT
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = OPHTHALMIC_8_BIT, meta.MediaStorageSOPInstanceUID
    file.Modality, file.PatientID = "OP", "1"
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    file.PhotometricInterpretation = photometric
    if pixels.ndim == 3:
        file.PlanarConfiguration = 0
    file.BitsAllocated, file.BitsStored, file.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    file.PixelRepresentation = 0
    file.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    for keyword, value in more.items():
        setattr(file, keyword, value)
    file.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_a_colour_photograph(pixels: np.ndarray, tmp_path: Path) -> None:
    path = _camera_file(tmp_path / "eye.dcm", pixels)
    torch.testing.assert_close(read_image(path), torch.from_numpy(pixels.transpose(2, 0, 1)).float() / 255)
    loaded = LoadFundus()(path.rename(tmp_path / "IM0001"))  # DICOM files often have no suffix
    assert (tuple(loaded.shape), loaded.meta["image_order"]) == ((3, 6, 9), "CHW")


def test_depths_and_grey(pixels: np.ndarray, tmp_path: Path) -> None:
    grey = pixels[..., 0].astype(np.uint16) * 16
    twelve = read_image(_camera_file(tmp_path / "a", grey, photometric="MONOCHROME2", bits=12))
    expected = torch.from_numpy(grey.astype(np.float32)) / 4095
    torch.testing.assert_close(twelve[1], expected, atol=1e-5, rtol=0)
    inverted = read_image(_camera_file(tmp_path / "b", grey, photometric="MONOCHROME1", bits=12))
    torch.testing.assert_close(inverted[1], 1 - expected, atol=1e-5, rtol=0)
    sixteen = read_image(_camera_file(tmp_path / "c", grey, photometric="MONOCHROME2", bits=16))
    torch.testing.assert_close(sixteen[0], torch.from_numpy(grey.astype(np.float32)) / 65535)


def test_colour_spaces_become_rgb(pixels: np.ndarray, tmp_path: Path) -> None:
    from pydicom.pixels import convert_color_space

    converted = convert_color_space(pixels, "RGB", "YBR_FULL")
    found = read_image(_camera_file(tmp_path / "a", converted, photometric="YBR_FULL"))
    torch.testing.assert_close(found * 255, torch.from_numpy(pixels.transpose(2, 0, 1)).float(), atol=3, rtol=0)


def test_jpeg_inside(tmp_path: Path) -> None:
    smooth = np.stack(np.meshgrid(np.arange(64), np.arange(48)), axis=-1).astype(np.uint8)
    picture = np.dstack([smooth, smooth[..., :1]])
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    path = _camera_file(tmp_path / "a", picture, photometric="YBR_FULL_422")
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    file.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    file["PixelData"].is_undefined_length = True
    file.save_as(path)
    expected = torch.from_numpy(np.asarray(Image.open(buffer)).transpose(2, 0, 1).copy()).float()
    torch.testing.assert_close(read_image(path) * 255, expected, atol=3, rtol=0)


def test_a_mask(tmp_path: Path) -> None:
    mask = np.eye(4, dtype=np.uint8)
    found = read_mask(_camera_file(tmp_path / "a", mask, photometric="MONOCHROME2"))
    assert torch.equal(found[0], torch.eye(4))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"PixelRepresentation": 1}, "signed"),
        ({"SamplesPerPixel": 4}, "4 channels"),
        ({"Rows": 60000, "Columns": 60000}, "max_pixels"),
        ({"Rows": 700}, "cannot be decoded"),
        ({"Rows": None}, "no picture"),
        ({"BitsStored": 0}, "0 bits"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_no_photograph(more: dict[str, Any], message: str, pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match=message):
        read_image(_camera_file(tmp_path / "a.dcm", pixels, **more))


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(132, 1000), flip=st.integers(132, 1000), value=st.integers(0, 255))
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused(cut: int, flip: int, value: int, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    content = bytearray(_camera_file(path, np.zeros((6, 9, 3), np.uint8)).read_bytes())
    content[min(flip, len(content) - 1)] = value
    path.write_bytes(content[:cut])
    with contextlib.suppress(ImageFileError):
        assert read_image(path).shape[0] == 3


def test_generated_images_are_marked_and_come_back(vae_bundle: Path, tmp_path: Path) -> None:
    made = load_generator(vae_bundle).sample([3], seeds=[5])
    record, path = made.records[0], tmp_path / "made.dcm"
    write_image(path, made.image[0], text={"generated": record.to_json()}, xmp=record.to_xmp())
    file = pydicom.dcmread(path)
    assert (file.SyntheticData, file.ConversionType, list(file.ImageType)) == ("YES", "SYN", ["DERIVED", "SECONDARY"])
    assert (str(file.PatientName), file.PatientID) == ("Synthetic", "SYNTHETIC")
    assert "tiny_vae" in file.DerivationDescription
    torch.testing.assert_close(read_image(path), made.image[0], atol=0.5 / 255 + 1e-6, rtol=0)
    assert GenerationRecord.from_json(read_text(path)["generated"]) == record
    before = path.read_bytes()
    write_image(path, made.image[0], text={"generated": record.to_json()}, xmp=record.to_xmp())
    assert path.read_bytes() == before


def test_a_photograph_is_not_written_as_dicom(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="generated images alone"):
        write_image(tmp_path / "eye.dcm", torch.zeros(3, 4, 4))
    assert list(tmp_path.iterdir()) == []


def test_a_photograph_has_no_record(pixels: np.ndarray, tmp_path: Path) -> None:
    path = _camera_file(tmp_path / "a.dcm", pixels, ImageComments=json.dumps({"generator": "x"}))
    assert read_text(path) == {}
    assert read_record({"image": LoadFundus()(path)}) is None
