"""expand on canvases: healthy photographs of the section alone, painted, with their groups and masks; refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import Item, LesionBank, MaskComposer, load_datalist, read_mask, write_phantoms
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.errors import DatalistError, UnsupportedModeError
from monai_retina_gen.generators import LesionPainterGenerator
from monai_retina_gen.networks import LesionPainter
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd
from monai_retina_gen.transforms.expansion.folder import expand

SIDE = 128


class Dots:
    """Paints what is wanted in black."""

    reads_vessels = False

    def draw(self, photograph: Any, own: Any, wanted: Any, *, seeds: Any, grades: Any = None) -> Any:
        change = torch.stack([(wanted[k] - own[k]).abs() for k in wanted]).amax(0)
        bright = torch.maximum(wanted["ex"], wanted["se"])
        return torch.where(change > 0, bright.expand_as(photograph), photograph), (change > 0).float()


@pytest.fixture(scope="module")
def datalist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("canvases")
    return write_phantoms(folder, count=6, size=160, grades=[0, 0, 3], splits=(0.7, 0.3, 0))


@pytest.fixture(scope="module")
def items(datalist: Path) -> list[Item]:
    """Two healthy eyes and a severe one."""
    sections = load_datalist(datalist)
    found = [item for section in ("training", "validation") for item in sections[section]]
    healthy, severe = ([item for item in found if item["grade"] == grade] for grade in (0, 3))
    return [*healthy[:2], *severe[:1]]


@pytest.fixture
def painter(phantom_bank: LesionBank) -> LesionPainterGenerator:
    generator = LesionPainterGenerator(LesionPainter(channels=(4, 8)), image_size=SIDE)
    generator.equip(Dots(), composer=MaskComposer(phantom_bank))
    return generator


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def photograph(item: Item) -> torch.Tensor:
    loaded = CropToFieldOfViewd(keys="image", size=SIDE)(LoadFundusd(keys="image")({"image": item["image"]}))
    return loaded["image"].as_tensor()


def test_healthy_photographs_become_eyes_of_the_grade(
    items: list[Item], painter: LesionPainterGenerator, tmp_path: Path
) -> None:
    folder = expand(painter, {2: 2, 3: 2}, tmp_path, gate=None, canvas=items, progress=False)
    found, healthy = load_datalist(folder / "datalist.json")["training"], {i["group"]: i for i in items[:2]}
    assert [item["grade"] for item in found] == [2, 2, 3, 3]
    for item in found:
        assert item["group"] in healthy
        image, lesions = read_image(item["image"]), torch.cat([read_mask(item[k]) for k in ("ma", "he", "ex", "se")])
        changed = (image - photograph(healthy[item["group"]])).abs().amax(0) > 0.51 / 255
        assert 0 < changed.float().mean() < 0.1
        assert (lesions.amax(0)[changed] > 0).float().mean() > 0.9


def test_killed_and_started_again_gives_the_same_bytes(
    items: list[Item], painter: LesionPainterGenerator, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"gate": None, "canvas": items, "batch_size": 2, "progress": False}
    whole = expand(painter, {2: 3}, tmp_path / "whole", **options)
    begun = expand(painter, {2: 3}, tmp_path / "again", **options)
    next((begun / "images").rglob("*.png")).unlink()
    assert digest(expand(painter, {2: 3}, begun, **options)) == digest(whole)
    with pytest.raises(ValueError, match="canvas_sha256"):
        expand(painter, {2: 3}, begun, **{**options, "canvas": items[1:]})


class Groups:
    """A gate that refuses the first, and keeps what it was told of groups."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        reasons = ["" if self.seen or row else "no" for row in range(len(grades))]
        self.seen += groups
        return GateVerdict(reasons, "groups", [{}] * len(grades))


def test_the_gate_judges_by_the_canvas(items: list[Item], painter: LesionPainterGenerator, tmp_path: Path) -> None:
    gate = Groups()
    folder = expand(painter, {2: 2}, tmp_path, gate=gate, canvas=items[:1], progress=False)
    assert set(gate.seen) == {items[0]["group"]}
    assert len(gate.seen) == 3
    found = load_datalist(folder / "datalist.json")["training"]
    assert len(found) == 2


def test_requests_that_cannot_be_served_are_refused_before_the_folder_is_begun(
    items: list[Item], painter: LesionPainterGenerator, tmp_path: Path, vae_bundle: Path
) -> None:
    options: dict[str, Any] = {"gate": None, "progress": False}
    with pytest.raises(ValueError, match="grade 0"):
        expand(painter, {0: 1}, tmp_path / "a", canvas=items, **options)
    with pytest.raises(ValueError, match="both came"):
        expand(painter, {2: 1}, tmp_path / "a", canvas=items, masks=items, **options)
    with pytest.raises(UnsupportedModeError, match="paints nothing"):
        expand(str(vae_bundle), {2: 1}, tmp_path / "a", canvas=items, **options)
    with pytest.raises(DatalistError, match="0 of 1 photographs have grade 0"):
        expand(painter, {2: 1}, tmp_path / "a", canvas=items[2:], **options)
    assert not (tmp_path / "a").exists()
    with pytest.warns(UserWarning, match="canvas_grades has 4"):
        expand(painter, {4: 1}, tmp_path / "b", canvas=items, **options)


def test_the_command_takes_the_training_photographs_alone(
    datalist: Path, painter: LesionPainterGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai_retina_gen.apps import expand as command

    seen: list[Any] = []
    (tmp_path / "datalist.json").write_text('{"training": []}')
    monkeypatch.setattr(command, "load_generator", lambda source, **kw: painter)
    monkeypatch.setattr(command, "expand", lambda *a, canvas, **kw: seen.extend(canvas) or tmp_path)
    arguments = ["expand", "--generator", "painter", "--canvas", str(datalist), "--counts", "2:1"]
    assert main([*arguments, "--gate", "none", "--out", str(tmp_path / "out")]) == 0
    assert {item["image"] for item in seen} == {item["image"] for item in load_datalist(datalist)["training"]}
