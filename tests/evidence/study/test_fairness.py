"""A study is fair: nothing of judged photographs reaches the arms, and arms and controls differ in one thing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.evidence.evaluation.image_sets import to_bytes
from monai_retina_gen.evidence.study import PRESETS, StudyConfig, run_study
from monai_retina_gen.evidence.study import alternatives as alternatives_module
from monai_retina_gen.evidence.study import material as material_module
from monai_retina_gen.evidence.study.alternatives import Alternatives, Bank, make_alternatives
from monai_retina_gen.evidence.study.analysis import SEEN, analyse
from monai_retina_gen.evidence.study.arms import Condition, replacement_probabilities
from monai_retina_gen.evidence.study.config import smoke_generator, smoke_synthesizer
from monai_retina_gen.evidence.study.material import Material, Run
from monai_retina_gen.evidence.study.photographs import Photographs
from monai_retina_gen.evidence.study.training import TrainingPhotographs, train_grader
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages

GRADES = [0] * 12 + [1] * 6 + [2] * 6 + [3] * 6 + [4] * 6


def config(**changes: Any) -> StudyConfig:
    return StudyConfig(**{"datalist": "-", "out": "-", **PRESETS["smoke"], **changes})


def photographs(size: int = 48) -> Photographs:
    images = torch.stack([to_bytes(phantom_fundus(i, grade=g, size=size).image) for i, g in enumerate(GRADES)])
    items = [
        {"image": f"{i}.png", "group": f"eye{i}", "block": f"block{i // 2}", "vessel": "v.png", "grade": g}
        for i, g in enumerate(GRADES)
    ]
    return Photographs.of(images, torch.tensor(GRADES), list(GRADES), items)


class EveryThirdRefused:
    """Stands in for `AugmentationSource`: dims a photograph a little, and refuses every third edit."""

    def __init__(self, **options: Any) -> None:
        self.tried = 0

    def apply(self, plans: Sequence[AugmentationPlan], real: RealImages) -> list[Outcome]:
        made = []
        for plan, image in zip(plans, real.images, strict=True):
            self.tried += 1
            refused = plan.mode == "edit" and self.tried % 3 == 0
            made.append(Outcome(refused="too red") if refused else Outcome(image=image * 0.9))
        return made


@pytest.fixture
def edits(monkeypatch: pytest.MonkeyPatch) -> Alternatives:
    monkeypatch.setattr(alternatives_module, "AugmentationSource", EveryThirdRefused)
    return make_alternatives("edit", smoke_generator(), photographs(), config(bank_size=9))


def test_what_is_made_of_photographs_is_made_of_the_training_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lesions, masks, edits and textures: neither the fold that judges nor the one that selects gives any."""
    real, used = photographs(), []

    def make_bank(generator: Any, part: Photographs, *args: Any, **kwargs: Any) -> Bank:
        used.append(part.names)
        return Bank(part.images[:1], [part.grades[0]])

    def made(arm: str, generator: Any, part: Photographs, *args: Any, **kwargs: Any) -> Alternatives:
        used.append(part.names)
        return Alternatives(part.images, part.grades, [torch.tensor([0])] * len(part), 1)

    monkeypatch.setattr(material_module, "make_bank", make_bank)
    monkeypatch.setattr(material_module, "make_alternatives", made)
    arms = ("oversample", "synthesize", "texture-matched")
    settings = config(cross_validation=3, arms=arms, out=str(tmp_path))
    material = Material(real, real, {}, {"drgan": smoke_synthesizer()}, settings)
    judged: list[str] = []
    for fold in range(3):
        run = Run(Condition("synthesize", "drgan", 1.0), "resnet18", seed=0, fold=fold)
        split, generated = material.split(run), material.generated(run)
        used.clear()
        generated.alternatives(run.condition)
        generated.alternatives(Condition("texture-matched", "drgan", 1.0, of="synthesize"))
        assert generated.banks
        apart = {real.names[row] for row in split.judged} | set(split.selecting.names)
        assert used
        assert all(set(names) == set(real.names) - apart for names in used)
        judged += [real.names[row] for row in split.judged]
        blocks = [{item["block"] for item in part.items} for part in (generated.photographs, split.selecting)]
        assert not blocks[0] & blocks[1]
    assert sorted(judged) == sorted(real.names)


def test_refused_edits_are_no_replacements(edits: Alternatives) -> None:
    real = photographs()
    wanted = sum(9 // GRADES.count(g) + bool(9 % GRADES.count(g)) for g in GRADES if g >= 2)
    assert edits.tried == wanted
    assert len(edits.images) == wanted - wanted // 3
    dimmed = to_bytes(real.floats() * 0.9)
    for row, grade in enumerate(GRADES):
        assert bool(len(edits.rows[row])) <= (grade >= 2)
        assert all(torch.equal(edits.images[i], dimmed[row]) for i in edits.rows[row])  # never the photograph itself
        assert {edits.grades[i] for i in edits.rows[row].tolist()} <= {grade}


def test_a_control_replaces_what_its_arm_replaces_at_its_resolution(edits: Alternatives) -> None:
    real, settings = photographs(), config(bank_size=9)
    control = make_alternatives("texture-matched", smoke_generator(), real, settings, of=edits)
    assert [len(rows) > 0 for rows in control.rows] == [len(rows) > 0 for rows in edits.rows]
    shares = {}
    for name, condition, made in (
        ("edit", Condition("edit", "g", 1.0), edits),
        ("control", Condition("texture-matched", "g", 1.0, of="edit"), control),
    ):
        torch.manual_seed(0)
        data = TrainingPhotographs(real, torch.nn.Identity(), replacement_probabilities(condition, real), made)
        for _ in range(20):
            data.batch(range(len(real)))
        shares[name] = data.shares()
    assert shares["edit"] == shares["control"]
    by_label = shares["edit"]["replaced_share_by_label"]
    assert by_label[0] == by_label[1] == 0 < min(by_label[g] for g in (2, 3, 4))
    # edits of the photographs' own size are no reason to shrink the control: here they are as sharp, so it is the same
    sharp = replace(edits, images=real.images, grades=real.grades)
    same = make_alternatives("texture-matched", smoke_generator(), real, settings, of=sharp)
    assert torch.equal(same.images, real.images)


def test_arms_that_take_their_images_from_elsewhere_say_what_they_lack() -> None:
    with pytest.raises(ValueError, match="bank: none came"):
        make_alternatives("sample", smoke_generator(), photographs(), config())
    with pytest.raises(ValueError, match="of: none came"):
        make_alternatives("reconstruct", smoke_generator(), photographs(), config())


def result(condition: Condition, seed: int, fold: int, right: bool) -> dict[str, Any]:
    rows = [row for row in range(len(GRADES)) if row % 3 == fold]
    target = [GRADES[row] for row in rows]
    judged = {
        "image": [str(row) for row in rows],
        "group": [str(row) for row in rows],
        "target": target,
        "pred": [g if right or row % (3 + seed) else 0 for g, row in zip(target, rows, strict=True)],
    }
    everything = {**judged, "image": ["a", "b"], "group": ["a", "b"], "target": [0, 4], "pred": [0, 4]}
    return {
        "run": {"id": condition.id, **vars(condition), "grader": "resnet18", "seed": seed, "fold": fold},
        "validation_kappa": 0.5,
        "predictions": {"validation": everything, "test": everything, "cross-validation": judged},
        "generated": {},
    }


@pytest.mark.parametrize(("unseen", "verdict"), [((), SEEN), (("vae",), "helps")])
def test_no_verdict_on_photographs_that_the_generator_may_have_seen(unseen: tuple[str, ...], verdict: str) -> None:
    baseline, sample = Condition("oversample"), Condition("sample", "vae", 1.0)
    results = [result(c, s, f, c == sample) for c in (baseline, sample) for s in range(5) for f in range(3)]
    study = analyse(results, config(cross_validation=3, unseen=unseen, seeds=5))
    assert [c["verdict"] for c in study["comparisons"]["cross-validation"]] == [verdict]
    assert study["comparisons"]["test"][0]["verdict"] != SEEN  # nobody saw those


def test_the_primary_comparison_is_the_one_named_in_advance() -> None:
    conditions = [Condition("oversample"), Condition("sample", "a", 1.0), Condition("sample", "b", 1.0)]
    results = [result(c, s, 0, c.generator == "a") for c in conditions for s in range(2)]
    for row in results:
        row["validation_kappa"] = {"": 0.4, "a": 0.3, "b": 0.9}[row["run"]["generator"]]
    assert analyse(results, config())["primary"]["a"] == "sample--b--1"
    primary = analyse(results, config(primary="sample--a--1"))["primary"]
    assert primary["a"] == "sample--a--1"
    assert "named in advance" in primary["words"]


def test_the_average_of_the_weights_is_kept_and_no_epoch_is_chosen() -> None:
    real = photographs(size=32)
    data = TrainingPhotographs(real, torch.nn.Identity(), dict.fromkeys(range(5), 0.0))
    found = {}
    for selection in ("average", "validation"):
        settings = config(selection=selection, image_size=32, max_epochs=2, batch_size=18)
        options: dict[str, Any] = {"balanced": True, "backbone": "resnet18", "config": settings, "seed": 0}
        found[selection] = train_grader(data, real, **options)
    reports = {name: report for name, (_, report) in found.items()}
    assert reports["average"]["selected_epoch"] == 2
    assert reports["average"]["validation_kappa"] == reports["average"]["validation_kappa_by_epoch"][-1]
    best = max(reports["validation"]["validation_kappa_by_epoch"])
    assert reports["validation"]["validation_kappa"] == best
    weights = [network.state_dict() for network, _ in found.values()]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_moved_photographs_go_on_and_other_ones_do_not(
    phantom_list: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study is of photographs, wherever they lie: paths are no settings, contents are."""
    datalist = json.loads(phantom_list.read_text(encoding="utf-8"))
    begun = []
    monkeypatch.setattr("monai_retina_gen.evidence.study.study.carry_out", lambda *args: begun.append(1) or 1 / 0)
    moved, changed = tmp_path / "elsewhere.json", tmp_path / "changed.json"
    for path in (moved, changed):
        place = phantom_list.parent
        for section in ("training", "validation", "test"):
            for item in datalist[section]:
                item["image"] = str(place / item["image"])
        path.write_text(json.dumps(datalist), encoding="utf-8")
        datalist["training"][0]["grade"] = (datalist["training"][0]["grade"] + 1) % 5
    settings: dict[str, Any] = {"out": str(tmp_path / "out"), "arms": ("oversample",), "image_size": 48}
    for source in (phantom_list, moved):
        with pytest.raises(ZeroDivisionError):
            run_study(StudyConfig(datalist=str(source), **settings), {})
    with pytest.raises(ValueError, match="data_sha256"):
        run_study(StudyConfig(datalist=str(changed), **settings), {})
    with pytest.raises(ValueError, match="primary: 'sample--x--1' came"):
        run_study(
            StudyConfig(datalist=str(moved), **{**settings, "out": str(tmp_path / "b")}, primary="sample--x--1"), {}
        )
    assert len(begun) == 2


def test_a_generator_without_tensors_of_the_device_makes_images_of_photographs_too() -> None:
    """As one that only draws: it has no weights that the study could move, and says that it is on the CPU."""
    generator = smoke_generator()
    real = photographs(generator.image_size)
    rows = [torch.tensor([row]) for row in range(len(GRADES))]
    of = Alternatives(real.images, list(real.grades), rows, len(rows))
    made = make_alternatives("reconstruct", generator, real, config(device="meta"), of=of)
    assert made.images.shape == real.images.shape
    assert not torch.equal(made.images, real.images)
