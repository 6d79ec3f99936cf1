"""The command `segment`, on photographs whose masks a network that looks at colours gives exactly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel
import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import load_datalist, phantom_fundus, read_mask, write_image, write_mask
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.engines import FundusSegmenter, load_segmenter
from monai_retina_gen.errors import DatalistError, ImageValueError, WeightsError
from monai_retina_gen.transforms import LoadFundus
from monai_retina_gen.transforms.segmenting.segment import overlay, overlay_sheet, segment, segment_photograph


class Blue(nn.Module):
    """Sees structure `a` where blue is above 0.5, and `b` nowhere."""

    def forward(self, image: Tensor) -> Tensor:
        found = (image[:, 2:] - 0.5) * 200
        return torch.cat([found, torch.full_like(found, -20)], 1)


def segmenter() -> FundusSegmenter:
    return FundusSegmenter(Blue(), structures=["a", "b"], image_size=64)


def photograph(path: Path, height: int = 90, width: int = 130, left: int = 20) -> Path:
    """A pale circle of 80 pixels with a blue square of 20 in it, not in the middle."""
    y, x = torch.meshgrid(torch.arange(height) - 44.5, torch.arange(width) - (left + 39.5), indexing="ij")
    image = (y**2 + x**2 < 40**2) * torch.tensor([0.7, 0.5, 0.3]).view(3, 1, 1)
    image[2, 30:50, left + 20 : left + 40] = 0.9
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)
    return path


def test_masks_lie_where_the_structure_lies_at_the_photographs_own_size(tmp_path: Path) -> None:
    image = LoadFundus()(photograph(tmp_path / "eye.png"))
    masks = segment_photograph(image, segmenter())
    assert masks["a"].shape == masks["b"].shape == (1, 90, 130)
    expected = (read_image(tmp_path / "eye.png")[2:] > 0.5).float()
    dice = 2 * (masks["a"] * expected).sum() / (masks["a"].sum() + expected.sum())
    assert dice > 0.9  # the square was seen at 64 of 80 pixels
    assert masks["b"].sum() == 0
    soft = segment_photograph(image, segmenter(), soft=True)["a"]
    assert 0 < soft[soft > 0].min() < 0.5 < soft.max() <= 1


@pytest.mark.parametrize(("file_format", "suffix"), [("png", ".png"), ("nifti", ".nii.gz")])
def test_files_datalist_and_overlays(file_format: str, suffix: str, tmp_path: Path) -> None:
    first, second = (
        photograph(tmp_path / "in" / "x" / "eye.png"),
        photograph(tmp_path / "in" / "y" / "eye.png", left=30),
    )
    items = {"training": [{"image": str(first), "grade": 3, "dme": 1}], "test": [{"image": str(second), "group": "p"}]}
    out = segment(
        load_datalist(items), segmenter(), tmp_path / "out", file_format=file_format, overlays=True, progress=False
    )
    written = load_datalist(out / "datalist.json")  # not all keys here are mask keys of a datalist: paths of those stay
    assert written["training"][0]["grade"] == 3
    assert written["training"][0]["dme"] == 1
    assert written["test"][0]["group"] == "p"
    assert "predicted by Blue" in written["description"]
    mask = read_mask(out / "masks" / "a" / f"x/eye{suffix}")
    assert mask.shape == (1, 90, 130)
    assert mask.unique().tolist() == [0, 1]
    if file_format == "nifti":
        assert nibabel.load(out / "masks/a/x/eye.nii.gz").shape == (130, 90, 1)
    assert read_image(out / "overlays.png").shape[1] > 300


def test_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datalist = load_datalist(
        {"test": [{"image": str(photograph(tmp_path / f"{i}.png", left=20 + i))} for i in range(3)]}
    )
    whole = segment(datalist, segmenter(), tmp_path / "whole", progress=False)
    again = segment(datalist, segmenter(), tmp_path / "again", progress=False)
    for path in list((again / "masks").rglob("1.png")):
        path.unlink()
    standing = again / "masks" / "a" / "0.png"
    before = standing.stat().st_mtime_ns
    segment(datalist, segmenter(), again, progress=False)
    assert standing.stat().st_mtime_ns == before
    for path in (whole / "masks").rglob("*.png"):
        assert path.read_bytes() == (again / path.relative_to(whole)).read_bytes()
    with pytest.raises(ValueError, match=r"other settings \(soft: False there, True now\)"):
        segment(datalist, segmenter(), again, soft=True, progress=False)


def test_masks_of_another_photograph_or_segmenter_are_never_taken_for_its_own(tmp_path: Path) -> None:
    """Two folders with equal file names, one after the other; and whatever else changes a mask."""
    for folder, left in (("one", 20), ("two", 30)):
        (tmp_path / folder).mkdir()
        photograph(tmp_path / folder / "eye.png", left=left)
    one, two = (load_datalist({"test": [{"image": str(tmp_path / name / "eye.png")}]}) for name in ("one", "two"))
    out = segment(one, segmenter(), tmp_path / "out", progress=False)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    unflipped, other = segmenter(), segmenter()
    unflipped.inferer.flips = unflipped.inferer.flips[:1]
    other.network.register_buffer("shift", torch.ones(1))
    changes: list[tuple[Any, FundusSegmenter, dict[str, bool], str]] = [
        (two, segmenter(), {}, r"photographs \(eye\)"),
        (one, unflipped, {}, r"segmenter \(flips\)"),
        (one, other, {}, r"segmenter \(weights_sha256\)"),
        (one, segmenter(), {"allow_upsampling": True}, "allow_upsampling: False there"),
    ]
    for datalist, by, options, named in changes:
        with pytest.raises(ValueError, match=rf"begun with other settings \({named}"):
            segment(datalist, by, out, progress=False, **options)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (tmp_path / "one").rename(tmp_path / "moved")  # the same photographs elsewhere are the same
    moved = load_datalist({"test": [{"image": str(tmp_path / "moved" / "eye.png")}]})
    segment(moved, segmenter(), out, progress=False)


def test_annotated_masks_win_and_grades_exclude_lesions(tiny_segmenter: Path, tmp_path: Path) -> None:
    eye = photograph(tmp_path / "eye.png")
    healthy, annotated = tmp_path / "healthy.png", tmp_path / "ex.png"
    healthy.write_bytes(eye.read_bytes())
    write_mask(annotated, torch.zeros(1, 90, 130))
    items = [{"image": str(eye), "grade": 3, "ex": str(annotated)}, {"image": str(healthy), "grade": 0}]
    segmenter = load_segmenter(str(tiny_segmenter), flips=False)
    out = segment(
        load_datalist({"test": items}),
        segmenter,
        tmp_path / "out",
        keep_annotated=True,
        follow_grades=True,
        progress=False,
    )
    first, second = load_datalist(out / "datalist.json")["test"]
    assert Path(first["ex"]).samefile(annotated)
    assert "od" in second
    assert "ex" not in second


def test_command(tiny_segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "eye.png", phantom_fundus(seed=1, size=96).image)
    arguments = ["segment", "--images", str(tmp_path / "in"), "--segmenter", str(tiny_segmenter)]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--soft", "--overlays", "--no-flips"]) == 0
    found = load_datalist(tmp_path / "out" / "datalist.json")["test"][0]
    assert read_mask(found["ex"]).shape == (1, 96, 96)
    assert os.path.isabs(found["od"])
    (tmp_path / "none").mkdir()
    assert (
        main(
            [
                "segment",
                "--images",
                str(tmp_path / "none"),
                "--out",
                str(tmp_path / "o"),
                "--segmenter",
                str(tiny_segmenter),
            ]
        )
        == 2
    )
    assert "no photographs" in capsys.readouterr().err
    (tmp_path / "small").mkdir()
    write_image(tmp_path / "small" / "eye.png", phantom_fundus(seed=1, size=32).image)
    arguments = ["segment", "--images", str(tmp_path / "small" / "eye.png"), "--segmenter", str(tiny_segmenter)]
    assert main([*arguments, "--out", str(tmp_path / "small_out")]) == 2
    assert "allow_upsampling" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "larger_out"), "--allow-upsampling"]) == 0


def test_bundle_gives_thresholds_and_refuses_others(tiny_segmenter: Path, grader_bundle: Path, tmp_path: Path) -> None:
    loaded = load_segmenter(tiny_segmenter)
    assert loaded.thresholds == {"ex": 0.3, "od": 0.5}
    assert loaded.name == "tiny_segmenter 0.0.1"
    images = torch.rand(2, 3, 64, 64)
    p = loaded.probabilities(images)["ex"]
    assert torch.equal(loaded.masks(images)["ex"], p >= 0.3)
    with pytest.raises(ImageValueError, match="wanted"):
        loaded.probabilities(images * 255)
    with pytest.raises(WeightsError, match="no segmenter"):
        load_segmenter(grader_bundle)


def test_overlay_draws_outlines_only() -> None:
    image, mask = torch.full((3, 20, 20), 0.5), torch.zeros(1, 20, 20)
    mask[0, 5:15, 5:15] = 1
    drawn = overlay(image, {"he": mask, "unknown": mask})
    changed = (drawn != image).any(0)
    assert changed.sum() == 36  # the rim of a square of ten
    assert not changed[8:12, 8:12].any()
    sheet = overlay_sheet([(image, {"he": mask})] * 4, tile=16, columns=3)
    assert sheet.shape[1] == 2 * 20
    with pytest.raises(DatalistError, match="no photograph"):
        segment({"test": []}, segmenter(), "nowhere")
