"""The demo writes its page from the shipped bundles alone; `--train` runs from nothing to its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from stand_in_device import stand_in_device

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import PhantomDataset, write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.evidence.demo import GRADES, PAINTER, SAMPLED, TILE, demo


@pytest.mark.slow
def test_page_of_drawn_eyes(tmp_path: Path, bundles_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))
    monkeypatch.setattr("monai_retina_gen.evidence.demo.EYES", 1)
    found = demo(tmp_path)
    assert [row[:2] for row in found["painted"]] == [["drawn eye 1", asked] for asked in ("as it was", *GRADES)]
    expected = [float(row[2]) for row in found["painted"]]
    assert expected == sorted(expected)  # graders see more in each painting than in the one before
    assert {row[0] for row in found["costs"]} == {PAINTER, *SAMPLED}
    page = (tmp_path / "demo.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 1 + len(SAMPLED)
    assert "not patients" in page
    assert "hard exudates yellow" in page  # the legend of the masks
    assert " ms</td>" in page  # 0.00 s would say nothing
    samples = read_image(tmp_path / "retina_wgan.png")  # which has no grade 1
    assert [bool((grade == 1).all()) for grade in samples.split(128, 2)] == [False, True, *[False] * 3]
    eyes, close_ups, masks = read_image(tmp_path / "painted_0.png").split(TILE, 1)
    eye, severe = eyes[:, :, :TILE], eyes[:, :, -TILE:]
    changed = (eye - severe).abs().amax(0) > 0.05
    assert 20 < int(changed.sum()) < 0.2 * changed.numel()
    near = (close_ups[:, :, :TILE] - close_ups[:, :, -TILE:]).abs().amax(0) > 0.05
    assert near.float().mean() > changed.float().mean()  # that is where the lesions are
    assert bool((masks[:, :, :TILE] == 0).all())


def test_photographs_that_do_not_exist_or_are_no_eyes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["demo", "--images", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "no photographs" in capsys.readouterr().err
    write_image(tmp_path / "noise.png", torch.rand(3, 300, 300, generator=torch.Generator().manual_seed(0)))
    assert main(["demo", "--images", str(tmp_path / "noise.png"), "--out", str(tmp_path / "out")]) == 2
    assert "noise.png" in capsys.readouterr().err


@pytest.mark.slow
def test_page_of_given_photographs(tmp_path: Path, bundles_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))
    eye = PhantomDataset(length=1, size=288, grades=[0])[0]["image"]
    write_image(tmp_path / "eye.png", eye)
    monkeypatch.setattr("monai_retina_gen.evidence.demo.SAMPLED", ())
    monkeypatch.setattr("monai_retina_gen.evidence.demo.GRADES", (2,))
    found = demo(tmp_path / "out", images=[str(tmp_path / "eye.png")])
    assert [row[:2] for row in found["painted"]] == [["eye.png", "as it was"], ["eye.png", 2]]


@pytest.mark.slow
def test_eyes_are_drawn_and_painted_on_the_device(
    tmp_path: Path, bundles_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))
    for name, value in (("EYES", 1), ("SAMPLED", ()), ("GRADES", (2,))):
        monkeypatch.setattr(f"monai_retina_gen.evidence.demo.{name}", value)
    with stand_in_device() as device:
        found = demo(tmp_path, device=str(device))
    assert [row[:2] for row in found["painted"]] == [["drawn eye 1", "as it was"], ["drawn eye 1", 2]]


@pytest.mark.slow
def test_an_eye_without_optic_disc_stays_as_it_was(
    tmp_path: Path, bundles_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))
    monkeypatch.setattr("monai_retina_gen.evidence.demo.SAMPLED", ())
    side = torch.linspace(-1, 1, 600)
    radius = (side[:, None] ** 2 + side**2).sqrt()
    colours = torch.tensor([0.75, 0.38, 0.12]).view(3, 1, 1)
    write_image(tmp_path / "eye.png", colours * (1 - 0.3 * radius) * (radius < 0.95))
    _, *painted = demo(tmp_path / "out", images=[str(tmp_path / "eye.png")])["painted"]
    assert all("no optic disc was found" in row[-1] for row in painted)
    eyes = read_image(tmp_path / "out" / "painted_0.png")[:, :TILE]
    assert all(torch.equal(eyes[:, :, :TILE], other) for other in eyes.split(TILE, 2))


@pytest.mark.slow
def test_training_on_given_photographs(
    phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "--train", "--datalist", str(phantom_folder / "datalist.json"), "--out", str(tmp_path)]
    assert main([*arguments, "--vae-epochs", "1", "--grader-epochs", "1", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert "monai-retina-gen expand" in printed
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert {row["arm"] for row in study["sets"]["test"]} == {"oversample", "sample"}
    assert "<html" in (tmp_path / "report.html").read_text()[:500]
