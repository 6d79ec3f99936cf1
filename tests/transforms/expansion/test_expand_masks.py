"""expand from masks: files, labels that belong together, resuming with the same bytes, settings, errors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.__main__ import main
from monai_retina_gen.apps import expand as command
from monai_retina_gen.data import (
    Item,
    LesionBank,
    MaskComposer,
    SyntheticDataset,
    load_datalist,
    read_mask,
    read_record,
    read_text,
)
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import DatalistError, UnsupportedModeError
from monai_retina_gen.evidence.study.config import smoke_synthesizer
from monai_retina_gen.generators import GeneratedBatch, RetinaGenerator, load_generator
from monai_retina_gen.transforms.expansion.folder import expand


class Echo(RetinaGenerator):
    """Green is the haemorrhages; dies at a given call, as a run that is killed does."""

    modes = frozenset({"synthesize"})
    image_size = 56

    def __init__(self, dies_at: int = 0) -> None:
        super().__init__(torch.nn.Identity())
        self._dies_at, self.calls = dies_at, 0

    def synthesize(self, masks: Any, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        self.calls += 1
        if self.calls == self._dies_at:
            raise KeyboardInterrupt
        grade = self.check_grades(grades)
        image = torch.cat([masks["vessel"], masks["he"], masks["fov"]], 1)
        records = [self.record("synthesize", g, s) for g, s in zip(grade.tolist(), seeds, strict=True)]
        return GeneratedBatch(image, grade, records, dict(masks))


@pytest.fixture(scope="module")
def items(phantom_folder: Path) -> list[Item]:
    found: list[Item] = load_datalist(phantom_folder / "datalist.json")["training"]
    return found


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_images_masks_and_datalist(items: list[Item], phantom_bank: LesionBank, tmp_path: Path) -> None:
    composer = MaskComposer(phantom_bank)
    folder = expand(Echo(), {0: 1, 3: 4}, tmp_path, gate=None, masks=items, lesion_bank=composer, progress=False)
    found = load_datalist(folder / "datalist.json")["training"]
    assert [item["grade"] for item in found] == [0, 3, 3, 3, 3]
    groups = {item["group"] for item in items}
    for item in found:
        image, he = read_image(item["image"]), read_mask(item["he"])
        torch.testing.assert_close(image[1], he[0], atol=0.012, rtol=0)
        assert bool(he.any()) == (item["grade"] == 3)
        assert item["group"] in groups  # it must not be split from the photograph whose vessels it shows
        record = read_record(read_text(item["image"]))
        assert record is not None
        assert record.mode == "synthesize"
        assert f"{Path(record.source).stem}" in item["group"].replace("/", "_")
    assert {item["grade"] for item in items} == {0, 1, 2, 3, 4}
    assert [set(i) >= {"vessel", "od", "fov", "ma", "he"} for i in SyntheticDataset(folder).data] == [True] * 5


def test_proliferative_vessels_only_for_grade_4(items: list[Item], phantom_bank: LesionBank, tmp_path: Path) -> None:
    composer, grade = MaskComposer(phantom_bank), {item["group"]: item["grade"] for item in items}
    folder = expand(Echo(), {2: 12, 4: 12}, tmp_path, gate=None, masks=items, lesion_bank=composer, progress=False)
    found = load_datalist(folder / "datalist.json")["training"]
    assert 4 not in {grade[item["group"]] for item in found if item["grade"] == 2}
    assert len({item["group"] for item in found}) > 6


def test_own_lesions_for_their_own_grade(items: list[Item], tmp_path: Path) -> None:
    folder = expand(Echo(), {3: 5}, tmp_path / "a", gate=None, masks=items, progress=False)
    grade = {item["group"]: item["grade"] for item in items}
    found = load_datalist(folder / "datalist.json")["training"]
    assert {grade[item["group"]] for item in found} == {3}
    with pytest.raises(DatalistError, match="no photograph for grade 3"):
        expand(Echo(), {3: 1}, tmp_path / "b", gate=None, masks=[i for i in items if i["grade"] == 2], progress=False)


def test_killed_and_started_again_gives_the_same_bytes(
    items: list[Item], phantom_bank: LesionBank, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"gate": None, "masks": items, "batch_size": 3, "progress": False}
    options["lesion_bank"] = MaskComposer(phantom_bank)
    with pytest.raises(KeyboardInterrupt):
        expand(Echo(dies_at=3), {2: 5, 3: 5}, tmp_path / "killed", **options)
    next((tmp_path / "killed" / "masks" / "he").rglob("*.png")).unlink()  # and a mask was lost
    expand(Echo(), {2: 5, 3: 5}, tmp_path / "killed", **options)
    expand(Echo(), {2: 5, 3: 5}, tmp_path / "whole", **options)
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")


def test_other_masks_or_bank_are_refused(items: list[Item], phantom_bank: LesionBank, tmp_path: Path) -> None:
    composer = MaskComposer(phantom_bank)
    expand(Echo(), {3: 1}, tmp_path, gate=None, masks=items, lesion_bank=composer, progress=False)
    with pytest.raises(ValueError, match="masks_sha256"):
        expand(Echo(), {3: 1}, tmp_path, gate=None, masks=items[1:], lesion_bank=composer, progress=False)
    with pytest.raises(ValueError, match="lesion_bank_sha256"):
        expand(Echo(), {3: 1}, tmp_path, gate=None, masks=items, progress=False)


def test_modes_are_named(items: list[Item], vae_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModeError, match="makes images from masks: give masks=items"):
        expand(Echo(), {3: 1}, tmp_path, gate=None)
    with pytest.raises(UnsupportedModeError, match="no mode 'synthesize'"):
        expand(str(vae_bundle), {3: 1}, tmp_path, gate=None, masks=items)
    with pytest.raises(DatalistError, match="none of 1 photographs has the mask 'vessel'"):
        expand(Echo(), {3: 1}, tmp_path, gate=None, masks=[{"image": "a.png", "grade": 3}])
    assert not list(tmp_path.iterdir())


def test_drgan_takes_what_is_composed(items: list[Item], phantom_bank: LesionBank, tmp_path: Path) -> None:
    """Its own checks: sizes, lesions off the disc, lesions that the grade allows."""
    composer = MaskComposer(phantom_bank)
    generator = smoke_synthesizer()
    generator.image_size = 48
    expand(generator, dict.fromkeys(range(5), 6), tmp_path, gate=None, masks=items, lesion_bank=composer)
    assert len(SyntheticDataset(tmp_path)) == 30


def test_command(
    phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        command, "load_generator", lambda source, **kw: Echo() if source == "echo" else load_generator(source)
    )
    monkeypatch.setattr(
        command, "build_lesion_bank", lambda items, **kw: _build(items, diameter=64, min_area=1, threshold=0.3)
    )
    arguments = ["expand", "--generator", "echo", "--masks", str(phantom_folder / "datalist.json"), "--gate", "none"]
    assert main([*arguments, "--per-grade", "1", "--out", str(tmp_path / "a")]) == 0
    assert (tmp_path / "a" / "lesion_bank.npz").is_file()
    assert len(SyntheticDataset(tmp_path / "a")) == 5
    arguments += ["--lesion-bank", str(tmp_path / "a" / "lesion_bank.npz"), "--balance", "--out", str(tmp_path / "b")]
    assert main(arguments) == 2
    assert "needs --datalist" in capsys.readouterr().err


def _build(items: Any, **options: Any) -> LesionBank:
    from monai_retina_gen.data import build_lesion_bank

    return build_lesion_bank(items, **options)
