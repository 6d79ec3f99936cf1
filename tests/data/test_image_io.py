"""Reading and writing: Pillow, nibabel and MONAI's own reader are the oracles."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.transforms import LoadImage
from PIL import Image

from monai_retina_gen.data import read_mask, read_text, write_image, write_mask
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import ImageFileError, ImageValueError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
IN_FOLDER = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
pixels8 = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def png16(pixels: np.ndarray, colour_type: int, *, extra: bytes = b"") -> bytes:
    """A 16-bit PNG written from the specification: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# Round trips


@IN_FOLDER
@given(pixels=pixels8, suffix=st.sampled_from([".png", ".nii", ".nii.gz"]))
def test_round_trip_is_exact_for_8_bits(tmp_path: Path, pixels: np.ndarray, suffix: str) -> None:
    image = as_tensor(pixels)
    write_image(tmp_path / f"a{suffix}", image)
    assert torch.equal(read_image(tmp_path / f"a{suffix}"), image)


@IN_FOLDER
@given(pixels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_mask_round_trip(tmp_path: Path, pixels: np.ndarray) -> None:
    mask = torch.from_numpy(pixels)[None].float() / 255
    write_mask(tmp_path / "m.nii.gz", mask)
    assert torch.equal(read_mask(tmp_path / "m.nii.gz"), mask)
    if pixels.max() == 1:
        with pytest.raises(ImageValueError, match="1/255"):
            write_mask(tmp_path / "m.png", mask)
    else:
        write_mask(tmp_path / "m.png", mask)
        assert torch.equal(read_mask(tmp_path / "m.png"), mask)


@IN_FOLDER
@given(
    pixels=hnp.arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))),
    grey=st.booleans(),
)
def test_16_bit_png_keeps_its_depth(tmp_path: Path, pixels: np.ndarray, grey: bool) -> None:
    pixels = pixels[..., :1] if grey else pixels
    (tmp_path / "a.png").write_bytes(png16(pixels, 0 if grey else 2))
    if 1 < pixels.max() < 4096:  # twelve bits or fewer, and nobody knows how many
        with pytest.raises(ImageFileError, match=r"a\.png: 16-bit file whose largest value"):
            read_image(tmp_path / "a.png")
        return
    expected = torch.from_numpy((pixels / 65535).astype(np.float32).transpose(2, 0, 1)).expand(3, -1, -1)
    torch.testing.assert_close(read_image(tmp_path / "a.png"), expected, atol=1e-7, rtol=0)


@IN_FOLDER
@given(data=st.data(), suffix=st.sampled_from([".png", ".jpg", ".nii", ".nii.gz", ".tif"]))
def test_damaged_files_are_read_or_refused_by_name(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        Image.fromarray(RGB).save(file)
    else:
        write_image(file, as_tensor(RGB))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        image = read_image(file, max_pixels=100_000)  # a header may now claim any size
    except ImageFileError as error:
        assert str(file) in str(error)  # noqa: PT017
    else:
        assert image.shape[0] == 3
        assert image.min() >= 0
        assert image.max() <= 1


def test_jpeg_is_close_and_keeps_full_colour_resolution(tmp_path: Path) -> None:
    image = torch.zeros(3, 16, 16)
    image[0, :, ::2] = 1
    write_image(tmp_path / "a.jpg", image)
    assert (read_image(tmp_path / "a.jpg") - image).abs().mean() < 0.05
    with Image.open(tmp_path / "a.jpg") as file:
        assert {component[1:3] for component in file.layer} == {(1, 1)}


# What Pillow's modes become


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_every_mode_becomes_what_pillow_makes_of_it(tmp_path: Path, mode: str, suffix: str) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    file = tmp_path / f"a{suffix}"
    try:
        picture.save(file)
    except OSError:
        pytest.skip(f"{suffix} holds no {mode}")
    with Image.open(file) as saved:
        expected = as_tensor(np.asarray(saved.convert("RGB")))
    assert torch.equal(read_image(file), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:4, :4] = 255
    undo = {1: (), 2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}[orientation]
    stored = Image.fromarray(upright)
    for step in undo:
        stored = stored.transpose(Image.Transpose(step))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_image(tmp_path / "a.png"), as_tensor(upright))


def test_exif_orientation_of_16_bit_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    payload = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(payload)) + b"eXIf" + payload + struct.pack(">I", zlib.crc32(b"eXIf" + payload))
    pixels = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 500
    (tmp_path / "a.png").write_bytes(png16(pixels, 2, extra=chunk))
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 6, 4)
    assert image[0, 0, -1] == np.float32(pixels[0, 0, 0]) / np.float32(65535)


def test_grey_16_bit_and_float_tiff(tmp_path: Path) -> None:
    grey = np.array([[0, 32768, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[1, 0].tolist() == pytest.approx([0, 32768 / 65535, 1])
    Image.fromarray(np.array([[0.25, 1.0]], np.float32)).save(tmp_path / "f.tif")
    assert read_image(tmp_path / "f.tif")[2, 0].tolist() == [0.25, 1.0]


# Masks


def test_label_masks_and_coloured_masks(tmp_path: Path) -> None:
    binary = np.array([[0, 1], [1, 0]], np.uint8)
    Image.fromarray(binary).save(tmp_path / "labels.png")
    Image.fromarray(binary * 255).save(tmp_path / "grey.png")
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = binary * 255
    Image.fromarray(red).save(tmp_path / "red.tif")
    palette = Image.fromarray(binary, mode=None).convert("P")
    palette.putdata([0, 1, 1, 0])
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.tif")
    Image.fromarray(binary.astype(bool)).save(tmp_path / "bilevel.png")
    nib.save(nib.Nifti1Image(binary.T[..., None], np.eye(4)), tmp_path / "labels.nii.gz")
    for file in tmp_path.iterdir():
        assert read_mask(file).tolist() == [[[0, 1], [1, 0]]], file.name


def test_masks_are_never_jpeg(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "m.jpg")
    with pytest.raises(ImageFileError, match=r"m\.jpg.*JPEG"):
        read_mask(tmp_path / "m.jpg")
    with pytest.raises(ImageFileError, match="suffix"):
        write_mask(tmp_path / "n.jpg", torch.zeros(1, 2, 2))


def test_bool_mask(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", torch.eye(4, dtype=torch.bool)[None])
    assert torch.equal(read_mask(tmp_path / "m.png")[0], torch.eye(4))


# NIfTI


def test_nifti_layout_by_nibabel_and_monai(tmp_path: Path) -> None:
    image = as_tensor(RGB)
    write_image(tmp_path / "a.nii.gz", image)
    stored = nib.load(tmp_path / "a.nii.gz")
    assert stored.shape == (7, 5, 1, 3)
    assert stored.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(stored.dataobj)[:, :, 0], RGB.transpose(1, 0, 2))
    np.testing.assert_array_equal(stored.affine, np.diag([-1, -1, 1, 1]))
    monai_image = LoadImage(image_only=True)(tmp_path / "a.nii.gz")  # (W, H, 1, 3)
    assert torch.equal(monai_image[:, :, 0].permute(2, 1, 0).as_tensor() / 255, image)


@pytest.mark.parametrize("shape", [(7, 5, 3), (7, 5, 1, 3), (7, 5, 1, 1, 3)])
def test_nifti_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(RGB.transpose(1, 0, 2).reshape(shape), np.eye(4)), tmp_path / "a.nii")
    assert torch.equal(read_image(tmp_path / "a.nii"), as_tensor(RGB))


def test_nifti_rgb24(tmp_path: Path) -> None:
    pixels = np.ascontiguousarray(RGB.transpose(1, 0, 2)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(pixels, np.eye(4)), tmp_path / "a.nii")
    assert torch.equal(read_image(tmp_path / "a.nii"), as_tensor(RGB))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), np.nan, np.float32), "NaN"),
        (np.full((4, 4), 1.5, np.float32), r"wanted \[0, 1\]"),
        (np.full((4, 4), -0.1, np.float64), r"wanted \[0, 1\]"),
        (np.zeros((4, 4), np.int16), "no defined white"),
        (np.zeros((4, 4, 2), np.uint8), "not one picture"),
        (np.zeros((4, 4, 5, 3), np.uint8), "not one picture"),
    ],
)
def test_nifti_refusals(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    nib.save(nib.Nifti1Image(pixels, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ImageFileError, match=rf"a\.nii.*{message}"):
        read_image(tmp_path / "a.nii")


def test_nifti_with_a_slope_is_refused(tmp_path: Path) -> None:
    scaled = nib.Nifti1Image(np.zeros((4, 4), np.uint8), np.eye(4))
    scaled.header.set_slope_inter(0.5, 1)
    nib.save(scaled, tmp_path / "a.nii")
    with pytest.raises(ImageFileError, match="scl_slope"):
        read_image(tmp_path / "a.nii")


# Files that are refused


def encoded(file_format: str, picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


PICTURE = Image.fromarray(RGB)
BAD_FILES = {
    "empty": (b"", "empty"),
    "text": (b"not an image", "not a complete"),
    "truncated PNG": (encoded("PNG", PICTURE)[:-40], "not a complete"),
    "truncated JPEG": (encoded("JPEG", PICTURE.resize((64, 64)))[:-400], "not a complete"),
    "truncated 16-bit PNG": (png16(np.ones((9, 9, 3), np.uint16), 2)[:-30], "not a complete"),
    "zero size": (png16(np.zeros((0, 4, 3), np.uint16), 2), "a.png"),
    "transparent": (encoded("PNG", Image.new("RGBA", (4, 4), (1, 2, 3, 9))), "16 pixels are transparent"),
    "transparent 16 bit": (png16(np.ones((2, 2, 4), np.uint16), 6), "4 pixels are transparent"),
    "several": (encoded("TIFF", PICTURE, save_all=True, append_images=[PICTURE]), "2 pictures"),
    "32-bit integers": (encoded("TIFF", Image.fromarray(np.ones((4, 4), np.int32))), "no defined white"),
    "GIF": (encoded("GIF", PICTURE), "not a complete PNG"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageFileError, match=message) as caught:
        read_image(tmp_path / "a.png")
    assert str(tmp_path / "a.png") in str(caught.value)


def test_damage_is_the_cause_and_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG", PICTURE))
    for error, raised in ((AttributeError(), ImageFileError), (MemoryError(), MemoryError)):
        monkeypatch.setattr("PIL.ImageOps.exif_transpose", Mock(side_effect=error))
        with pytest.raises(raised) as caught:
            read_image(tmp_path / "a.png")
        assert error in (caught.value, caught.value.__cause__)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageFileError, match="is a folder"):
        read_mask(tmp_path)
    with pytest.raises(ImageFileError, match="does not exist"):
        write_image(tmp_path / "none" / "a.png", torch.zeros(3, 2, 2))


def test_16_bit_colour_tiff_is_refused(tmp_path: Path) -> None:
    entries = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 128), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 12)]
    directory = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    data = (struct.pack("<2sHI", b"II", 42, 8) + directory).ljust(122, b"\0") + struct.pack("<3H", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(data + bytes(12))
    with pytest.raises(ImageFileError, match="colour TIFF of 16 bits"):
        read_image(tmp_path / "a.tif")


def test_size_limit_holds_before_decoding(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", torch.zeros(3, 20, 20))
    write_image(tmp_path / "a.nii.gz", torch.zeros(3, 20, 20))
    for file in tmp_path.iterdir():
        with pytest.raises(ImageFileError, match="max_pixels=399"):
            read_image(file, max_pixels=399)
    bomb = bytearray(png16(np.zeros((1, 1, 3), np.uint16), 2))
    bomb[16:24] = struct.pack(">II", 60000, 60000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(ImageFileError, match=r"bomb\.png.*max_pixels"):
        read_image(tmp_path / "bomb.png")


# Writing


def test_text_and_xmp_in_png(tmp_path: Path) -> None:
    text = {"record": '{"seed": 7, "Größe": "µm"}', "note": "x" * 5000}
    write_image(tmp_path / "a.png", as_tensor(RGB), text=text, xmp="<x:xmpmeta/>")
    assert read_text(tmp_path / "a.png") == {**text, "XML:com.adobe.xmp": "<x:xmpmeta/>"}
    assert torch.equal(read_image(tmp_path / "a.png"), as_tensor(RGB))
    with Image.open(tmp_path / "a.png") as file:
        assert file.info["xmp"] == b"<x:xmpmeta/>"
    with pytest.raises(ImageFileError, match="PNG files only"):
        write_image(tmp_path / "a.jpg", as_tensor(RGB), text={"seed": "1"})
    write_image(tmp_path / "b.jpg", as_tensor(RGB))
    with pytest.raises(ImageFileError, match=r"b\.jpg"):
        read_text(tmp_path / "b.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.nii", "a.nii.gz"])
def test_same_input_same_bytes_and_no_leftovers(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / name, as_tensor(RGB))
    first = (tmp_path / name).read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_image(tmp_path / name, as_tensor(RGB))
    assert (tmp_path / name).read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", as_tensor(RGB))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_image(tmp_path / "a.png", torch.zeros(3, 4, 4))
    assert torch.equal(read_image(tmp_path / "a.png"), as_tensor(RGB))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "uint8"),
        (torch.full((3, 4, 4), 1.01), "wanted"),
        (torch.full((3, 4, 4), float("nan")), "nan"),
        (torch.zeros(1, 4, 4), r"\(1, 4, 4\)"),
        (torch.zeros(4, 4), r"\(4, 4\)"),
        (torch.zeros(3, 0, 4), r"\(3, 0, 4\)"),
        (np.zeros((3, 4, 4), np.float32), "ndarray"),
    ],
)
def test_images_outside_the_convention_are_not_written(tmp_path: Path, image: torch.Tensor, message: str) -> None:
    with pytest.raises(ImageValueError, match=message):
        write_image(tmp_path / "a.png", image)
    assert not list(tmp_path.iterdir())


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="suffix"):
        write_image(tmp_path / "a.webp", torch.zeros(3, 4, 4))


def test_shared_photographs(mrg_data: Path) -> None:
    image = read_image(sorted((mrg_data / "idrid/256/images").glob("*.jpg"))[0])
    assert image.shape == (3, 256, 256)
    assert 0.05 < image.mean() < 0.6
    soft = read_mask(sorted((mrg_data / "idrid/256/soft_masks/ex").glob("*.png"))[0])
    assert soft.shape == (1, 256, 256)
    assert len(soft.unique()) > 2
