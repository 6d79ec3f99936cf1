"""Painted arms of a study: edits, canvases, and the control with nothing new in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from painting_parts import painting_generator

from monai_retina_gen.data import LesionBank, write_phantoms
from monai_retina_gen.data.datalist import load_datalist
from monai_retina_gen.evidence.study import PRESETS, StudyConfig
from monai_retina_gen.evidence.study.alternatives import make_alternatives
from monai_retina_gen.evidence.study.arms import expand_arms
from monai_retina_gen.evidence.study.config import smoke_generator
from monai_retina_gen.evidence.study.material import GeneratedImages
from monai_retina_gen.evidence.study.photographs import Photographs, load_photographs

ARMS = ("oversample", "edit", "nothing-new", "texture-matched", "canvas", "synthesize", "sample")


def config(**changes: Any) -> StudyConfig:
    settings = {**PRESETS["smoke"], "image_size": 128, "bank_size": 3, "arms": ARMS, **changes}
    return StudyConfig(**{"datalist": "-", "out": "-", **settings})


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    """Phantoms of 128 px with masks: three healthy ones, three of grade 2 and two of grade 3."""
    folder = tmp_path_factory.mktemp("painted")
    path = write_phantoms(folder, count=8, size=128, seed=3, splits=(1.0, 0.0, 0.0), grades=(0, 2, 3))
    return load_photographs(
        load_datalist(path)["training"], "training", StudyConfig(datalist="-", out="-", image_size=128)
    )


def test_arms_of_a_painter(eyes: Photographs, phantom_bank: LesionBank) -> None:
    painter = painting_generator(phantom_bank)
    conditions, skipped = expand_arms(config(), {"painter": painter}, eyes)
    rare = Photographs.of(eyes.images[:4], eyes.labels[:4], eyes.grades[:4], eyes.items[:4])
    assert {(c.arm, c.of) for c in conditions if c.of} <= {
        ("nothing-new", "edit"), ("texture-matched", "edit"), ("texture-matched", "canvas")
    }  # fmt: skip
    assert sum("draws no whole eyes" in line for line in skipped) >= 1
    assert GeneratedImages(rare, {"painter": painter}, config()).banks == {}
    small = expand_arms(config(image_size=64), {"painter": painter}, eyes)[1]
    assert any("at least 128 px" in line for line in small)
    other = expand_arms(config(arms=("canvas",)), {"vae": smoke_generator()}, eyes)[1]
    assert "no mode" in other[0] or "paints no photographs" in other[0]


def test_edits_and_their_control_change_the_same_places(eyes: Photographs, phantom_bank: LesionBank) -> None:
    painter = painting_generator(phantom_bank)
    edits = make_alternatives("edit", painter, eyes, config())
    control = make_alternatives("nothing-new", painter, eyes, config(), of=edits)
    assert (control.grades, len(control.images)) == (edits.grades, len(edits.images))
    assert [rows.tolist() for rows in control.rows] == [rows.tolist() for rows in edits.rows]
    assert all(bool(len(rows)) <= (grade >= 2) for rows, grade in zip(edits.rows, eyes.grades, strict=True))
    assert any(len(rows) for rows in edits.rows)
    strongest = []
    for change, edit, same in zip(edits.changes, edits.images, control.images, strict=True):
        real = eyes.images[change.row]
        new = (change.wanted.to_dense() > change.own.to_dense()).any(0)
        assert bool(new.any())
        assert bool((edit != real).any(0)[new].any())
        assert torch.equal(edit[:, ~(edit != real).any(0)], real[:, ~(edit != real).any(0)])
        # the control touches what was asked for and showed, and draws no lesion there
        asked = (change.wanted.to_dense() != change.own.to_dense()).any(0)
        assert not bool(((same != real).any(0) & ~asked).any())
        strongest.append(float((edit.float() - same.float()).abs().amax(0)[new].max()))
    assert min(strongest) > 2
    assert max(strongest) > 10


def test_canvases_are_healthy_eyes_of_the_training_part(eyes: Photographs, phantom_bank: LesionBank) -> None:
    made = make_alternatives("canvas", painting_generator(phantom_bank), eyes, config())
    assert set(made.grades) <= {2, 3}
    healthy = eyes.images[[row for row, grade in enumerate(eyes.grades) if grade == 0]]
    for image in made.images:  # most of an eye stays as it was
        same = (image[None] == healthy).all(1).float().mean((1, 2))
        assert 0.5 < float(same.max()) < 1
    for rows, grade in zip(made.rows, eyes.grades, strict=True):
        assert {made.grades[i] for i in rows.tolist()} <= {grade}


def test_lesions_come_from_the_photographs_that_are_given(
    eyes: Photographs, phantom_bank: LesionBank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not from the bank that the generator came with: that may hold lesions of judged eyes."""
    used = []
    build = "monai_retina_gen.evidence.study.paintings.lesions_of"
    monkeypatch.setattr(build, lambda part: used.append(list(part.items)) or phantom_bank)
    few = eyes.select(range(4))
    painter = painting_generator(phantom_bank)
    before = painter.composer
    make_alternatives("edit", painter, few, config())
    assert used == [few.items]
    assert painter.composer is before  # the generator itself stays as it was
