"""Files as cameras, archives and other people's tables deliver them: formats, suffixes and paths."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from monai_retina_gen.data import SECTIONS, csv_datalist, folder_datalist, load_datalist, read_mask, write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import DatalistError, ImageFileError
from monai_retina_gen.transforms.segmenting.segment import find_images
from monai_retina_gen.weights.bundle_paths import _temporary_cache, user_cache

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
IMAGE = torch.from_numpy(PIXELS.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def write_dicom(path: Path, *, preamble: bool = True, syntax: str = "1.2.840.10008.1.2.1") -> None:
    """What an ophthalmic camera writes, in one of the uncompressed syntaxes, with or without its first 132 bytes."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax
    file = pydicom.dataset.Dataset()
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    file.Rows, file.Columns = PIXELS.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PlanarConfiguration = 3, "RGB", 0
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PixelData = PIXELS.tobytes()
    if preamble:
        file.file_meta = meta
        pydicom.dcmwrite(path, file, enforce_file_format=True)
    else:
        implicit = syntax == "1.2.840.10008.1.2"
        pydicom.dcmwrite(path, file, implicit_vr=implicit, little_endian=True)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_dicom_without_preamble(tmp_path: Path, syntax: str) -> None:
    write_dicom(tmp_path / "a.dcm", preamble=False, syntax=syntax)
    assert (tmp_path / "a.dcm").read_bytes()[128:132] != b"DICM"
    assert torch.equal(read_image(tmp_path / "a.dcm"), IMAGE)


def test_lossless_webp_is_read_and_no_mask(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.webp", lossless=True)
    assert torch.equal(read_image(tmp_path / "a.webp"), IMAGE)
    with pytest.raises(ImageFileError, match="WEBP changes the values of a mask"):
        read_mask(tmp_path / "a.webp")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_second_version_of_nifti(tmp_path: Path, suffix: str) -> None:
    nib.save(nib.Nifti2Image(PIXELS.swapaxes(0, 1)[:, :, None], np.eye(4)), tmp_path / f"a{suffix}")
    assert torch.equal(read_image(tmp_path / f"a{suffix}"), IMAGE)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pixels=hnp.arrays(np.uint16, (3, 4), elements=st.integers(0, 4095)).filter(lambda p: p.max() > 1),
    suffix=st.sampled_from([".png", ".tif", ".nii.gz"]),
)
def test_twelve_bits_in_sixteen_are_said(tmp_path: Path, pixels: np.ndarray, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".nii.gz":
        nib.save(nib.Nifti1Image(pixels[:, :, None], np.eye(4)), file)
    else:
        Image.fromarray(pixels).save(file)
    for read in (read_image, read_mask):
        with pytest.raises(ImageFileError, match=r"largest value is \d+, so 12 bits or fewer"):
            read(file)


def test_folders_list_every_format_that_is_read(tmp_path: Path) -> None:
    write_dicom(tmp_path / "camera.dcm")
    write_dicom(tmp_path / "IM0001")
    write_image(tmp_path / "a.nii.gz", IMAGE)
    write_image(tmp_path / "b.png", IMAGE)
    Image.fromarray(PIXELS).save(tmp_path / "c.webp", lossless=True)
    Image.fromarray(PIXELS).save(tmp_path / "left_out.gif")
    (tmp_path / "README").write_text("about these files")
    (tmp_path / "labels.csv").write_text("image,grade\n")
    with pytest.warns(UserWarning, match=r"left out, not one of .*README, left_out\.gif"):
        datalist = folder_datalist(tmp_path)
    items = [item for section in SECTIONS for item in datalist[section]]
    listed = {Path(item["image"]).name: item for item in items}
    assert set(listed) == {"camera.dcm", "IM0001", "a.nii.gz", "b.png", "c.webp"}
    assert all(torch.equal(read_image(item["image"]), IMAGE) for item in listed.values())
    with pytest.warns(UserWarning, match="left_out"):
        assert {Path(item["image"]).name for item in find_images([str(tmp_path)])} == set(listed)


def test_gzipped_and_plain_files_of_one_eye_are_one_group(tmp_path: Path) -> None:
    write_image(tmp_path / "eye.nii.gz", IMAGE)
    [item] = folder_datalist(tmp_path)["training"]
    assert item["group"] == "eye"


def test_paths_as_windows_and_shells_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "eyes").mkdir()
    write_image(tmp_path / "eyes" / "a.png", IMAGE)
    write_image(tmp_path / "eyes" / "b\\c.png", IMAGE * 0)  # here a backslash may be part of a name
    table = tmp_path / "grades.csv"
    table.write_text("image,grade\neyes\\a.png,0\neyes/b\\c.png,1\n", encoding="utf-8")
    paths = {item["image"] for s in SECTIONS for item in csv_datalist(table, tmp_path)[s]}
    assert paths == {str(tmp_path / "eyes" / "a.png"), str(tmp_path / "eyes" / "b\\c.png")}
    loaded = load_datalist({"training": ["~/eyes/a.png"]}, "/nowhere")
    assert loaded["training"][0]["image"] == str(tmp_path / "eyes" / "a.png")
    assert torch.equal(read_image("~/eyes/a.png"), IMAGE)
    table.write_text("image,grade\nC:\\eyes\\a.png,0\n", encoding="utf-8")
    with pytest.raises(DatalistError, match="Windows drive"):
        csv_datalist(table, tmp_path)
    with pytest.raises(ImageFileError, match="a Windows path"):
        read_image("eyes\\a.png")


@pytest.mark.parametrize("name", ["grades.xlsx", "grades.csv"])
def test_workbooks_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(DatalistError, match="workbook"):
        load_datalist(tmp_path / name)


def test_without_a_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("MRG_CACHE", str(tmp_path / "named"))
    assert user_cache() == tmp_path / "named"
    monkeypatch.delenv("MRG_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    _temporary_cache.cache_clear()
    with pytest.warns(UserWarning, match="set MRG_CACHE") as caught:
        folders = {user_cache() for _ in range(3)}
    assert len(caught) == len(folders) == 1
    folders.pop().rmdir()
    _temporary_cache.cache_clear()


def test_damaged_gzip_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(900))[:20])
    with pytest.raises(ImageFileError, match=r"a\.nii\.gz: "):
        read_image(tmp_path / "a.nii.gz")
