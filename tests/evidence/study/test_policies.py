"""Policies of painting in a study: how much is replaced, what a gate refuses, rare grades, and what is chosen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from painting_parts import painting_generator
from sklearn.metrics import accuracy_score, recall_score

from monai_retina_gen.data import LesionBank, MaskComposer, build_lesion_bank, load_datalist, write_phantoms
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.evidence.study import PRESETS, StudyConfig
from monai_retina_gen.evidence.study import alternatives as alternatives_module
from monai_retina_gen.evidence.study import material as material_module
from monai_retina_gen.evidence.study.alternative_images import Alternatives, read_made, write_made
from monai_retina_gen.evidence.study.analysis import REFERABLE, SEEN, analyse, best_policy
from monai_retina_gen.evidence.study.arms import Condition, expand_arms, replacement_probabilities
from monai_retina_gen.evidence.study.config import smoke_generator
from monai_retina_gen.evidence.study.detection import detect_paintings
from monai_retina_gen.evidence.study.material import GeneratedImages, Material, Run, _subset
from monai_retina_gen.evidence.study.photographs import (
    Photographs,
    lesions_of,
    load_photographs,
    mapped,
    mask_keys,
    own_masks,
    read_ahead,
    with_predicted,
)
from monai_retina_gen.evidence.study.study import carry_out, list_runs, read_results, study_warnings
from monai_retina_gen.evidence.study.training import TrainingPhotographs
from monai_retina_gen.metrics import grade_confusion_matrix

EDIT, BOTH = Condition("edit", "painter", share=0.5), Condition("edit-canvas", "painter", share=0.5)
GRADES = [0] * 12 + [1] * 4 + [2] * 10 + [3] * 8 + [4] * 6


def config(out: Path, **changes: Any) -> StudyConfig:
    settings = {**PRESETS["smoke"], "image_size": 128, "bank_size": 3, "arms": ("oversample",), **changes}
    return StudyConfig(**{"datalist": "-", "out": str(out), **settings})


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("policies")
    written = write_phantoms(folder, count=8, size=128, seed=3, splits=(1.0, 0.0, 0.0), grades=(0, 2, 3))
    return load_datalist(written)["training"]


@pytest.fixture(scope="module")
def eyes(items: list[dict[str, Any]]) -> Photographs:
    return load_photographs(items, "training", config(Path("out")))


def plain(size: int = 16) -> Photographs:
    images = torch.randint(0, 255, (len(GRADES), 3, size, size), dtype=torch.uint8)
    items = [{"image": f"{i}.png", "group": f"eye{i}", "grade": g} for i, g in enumerate(GRADES)]
    return Photographs.of(images, torch.tensor(GRADES), list(GRADES), items)


class RefusesEverySecond:
    """A gate that says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool, str]] = []

    def check(
        self, images: torch.Tensor, grades: Sequence[int], originals: Any = None, groups: Any = None
    ) -> GateVerdict:
        first = len(self.asked)
        self.asked += [(g, originals is not None, group) for g, group in zip(grades, groups, strict=True)]
        return GateVerdict(["too red" if (first + i) % 2 else "" for i in range(len(images))], "second")


@pytest.mark.parametrize(
    "name", ["edit--a--b--share0.3--gated", "nothing-new-of-edit-canvas--a--share0.15", "sample--a--1"]
)
def test_names_of_conditions_are_read_back(name: str) -> None:
    assert Condition.parse(name).id == name


@pytest.mark.parametrize(
    "name", ["edit", "edit--a", "edit--a--0", "edit--a--share2", "magic--a--1", "nothing-new--a--1"]
)
def test_what_is_no_condition_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"wanted ARM|unknown arm"):
        Condition.parse(name)


def test_a_share_is_of_what_is_shown_and_a_ratio_of_what_balancing_adds() -> None:
    real = plain()
    assert replacement_probabilities(EDIT, real) == {0: 0.0, 1: 0.0, 2: 0.5, 3: 0.5, 4: 0.5}
    assert replacement_probabilities(Condition("canvas", "painter", share=0.2), real)[4] == 0.0
    assert replacement_probabilities(BOTH, real) == replacement_probabilities(EDIT, real)
    ratio = replacement_probabilities(Condition("edit", "painter", 0.5), real)
    assert ratio[3] == pytest.approx(0.5 * (1 - 8 / 12))
    control = Condition("nothing-new", "painter", of="edit-canvas", share=0.5, gated=True)
    assert replacement_probabilities(control, real) == replacement_probabilities(BOTH, real)


def test_policies_run_or_are_an_error(eyes: Photographs, phantom_bank: LesionBank, tmp_path: Path) -> None:
    generators = {"painter": painting_generator(phantom_bank), "vae": smoke_generator()}
    named = ("edit--painter--share0.3--gated", "nothing-new-of-edit--painter--share0.3--gated")
    conditions, _ = expand_arms(config(tmp_path, policies=named), generators, eyes)
    assert [c.id for c in conditions] == ["oversample", *named]
    for wrong, why in (
        ("edit--other--1", "not there"),
        ("canvas--vae--1", "cannot run"),
        ("edit-canvas--vae--1", "cannot run"),
        ("texture-matched-of-sample--vae--1--gated", r"a gate judges|cannot run"),
    ):
        with pytest.raises(ValueError, match=why):
            expand_arms(config(tmp_path, policies=(wrong,)), generators, eyes)


def test_what_the_gate_refuses_replaces_nothing_in_arm_and_control(
    eyes: Photographs, phantom_bank: LesionBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = RefusesEverySecond()
    monkeypatch.setattr(alternatives_module, "LabelGate", lambda **options: gate)
    made = GeneratedImages(eyes, {"painter": painting_generator(phantom_bank)}, config(tmp_path))
    whole, gated = made.alternatives(EDIT), made.alternatives(replace(EDIT, gated=True))
    control = made.alternatives(Condition("nothing-new", "painter", of="edit", share=0.5, gated=True))
    assert whole is not None
    assert gated is not None
    assert control is not None
    assert len(gate.asked) == len(whole.images)
    assert all(compared for _, compared, _ in gate.asked)
    assert [group for *_, group in gate.asked] == [eyes.groups[row] for row in whole.sources]
    assert torch.equal(gated.images, whole.images[::2])
    assert [rows.tolist() for rows in control.rows] == [rows.tolist() for rows in gated.rows]
    assert control.sources == gated.sources
    for row, rows in enumerate(gated.rows):
        assert all(gated.sources[i] == row for i in rows.tolist())
    canvases = made.alternatives(Condition("canvas", "painter", share=0.5, gated=True))
    assert canvases is not None
    assert not any(compared for _, compared, _ in gate.asked[len(whole.images) :])  # another grade than its source's
    assert {eyes.grades[row] for row in canvases.sources} <= {0}


def test_edits_and_canvases_take_turns(eyes: Photographs, phantom_bank: LesionBank, tmp_path: Path) -> None:
    made = GeneratedImages(eyes, {"painter": painting_generator(phantom_bank)}, config(tmp_path))
    both, edits = made.alternatives(BOTH), made.alternatives(EDIT)
    assert both is not None
    assert edits is not None
    for own, rows in zip(edits.rows, both.rows, strict=True):
        of_canvases = sum(row >= len(edits.images) for row in rows.tolist())
        assert not len(own) or not of_canvases or 2 * of_canvases == len(rows)
    data = TrainingPhotographs(eyes, torch.nn.Identity(), replacement_probabilities(BOTH, eyes), both)
    for _ in range(40):
        data.batch(range(len(eyes)))
    shares = data.shares()["replaced_share_by_label"]
    assert shares[0] == 0
    assert shares[3] == pytest.approx(0.5, abs=0.15)


def test_made_once_for_all_processes(
    eyes: Photographs, phantom_bank: LesionBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators, settings = {"painter": painting_generator(phantom_bank)}, config(tmp_path)
    control = Condition("nothing-new", "painter", of="edit", share=0.5)
    first = [GeneratedImages(eyes, generators, settings, "seed0").alternatives(c) for c in (EDIT, control)]
    monkeypatch.setattr(material_module, "make_alternatives", lambda *args, **kwargs: 1 / 0)
    again = [GeneratedImages(eyes, generators, settings, "seed0").alternatives(c) for c in (EDIT, control)]
    for one, two in zip(first, again, strict=True):
        assert one is not None
        assert two is not None
        assert torch.equal(one.images, two.images)
        assert (one.grades, one.tried, list(one.sources)) == (two.grades, two.tried, list(two.sources))
        assert [rows.tolist() for rows in one.rows] == [rows.tolist() for rows in two.rows]
        for mine, yours in zip(one.changes, two.changes, strict=True):
            assert (mine.row, mine.seed) == (yours.row, yours.seed)
            assert torch.equal(mine.own.to_dense(), yours.own.to_dense())
            assert torch.equal(mine.wanted.to_dense(), yours.wanted.to_dense())
    with pytest.raises(ZeroDivisionError):
        GeneratedImages(eyes, generators, settings, "seed1").alternatives(EDIT)


def test_images_without_changes_are_read_back(tmp_path: Path) -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    write_made(
        Alternatives(images, [2, 3], [torch.tensor([0, 1]), torch.tensor([], dtype=torch.long)], 5), tmp_path / "a"
    )
    found = read_made(tmp_path / "a")
    assert (found.grades, found.tried, [len(rows) for rows in found.rows]) == ([2, 3], 5, [2, 0])
    assert not found.changes
    assert not found.sources


def test_severe_grades_are_made_rare_in_nested_subsets() -> None:
    real = plain()
    for seed in range(3):
        whole, half, quarter = (set(_subset(real, share, seed)) for share in (1.0, 0.5, 0.25))
        assert whole == set(range(len(real)))
        assert quarter < half < whole
        kept = [[real.grades[row] for row in part].count for part in (half, quarter)]
        assert [[count(g) for g in range(5)] for count in kept] == [[12, 4, 10, 4, 3], [12, 4, 10, 2, 2]]
    assert _subset(real, 0.5, 0) != _subset(real, 0.5, 1)


def test_nothing_comes_from_photographs_that_are_left_out(tmp_path: Path) -> None:
    real = plain()
    material = Material(real, real, {}, {}, config(tmp_path, severe_share=0.25))
    for seed in range(2):
        run = Run(Condition("oversample"), "resnet18", seed)
        assert material.part(run) == f"seed{seed}"
        names = material.generated(run).photographs.names
        assert names == [real.names[row] for row in _subset(real, 0.25, seed)]
        folded = replace(run, fold=1)
        both = Material(real, real, {}, {}, config(tmp_path, severe_share=0.25, cross_validation=3))
        assert set(both.split(folded).rows) < set(_subset(real, 0.25, seed))
    with pytest.raises(ValueError, match="severe_share: 0"):
        config(tmp_path, severe_share=0.0)


def judged(condition: Condition, seed: int, right: bool) -> dict[str, Any]:
    pred = [g if right or i % (3 + seed) else 0 for i, g in enumerate(GRADES)]
    names = [str(i) for i in range(len(GRADES))]
    table = {"image": names, "group": names, "target": GRADES, "pred": pred}
    return {
        "run": {"id": condition.id, **vars(condition), "grader": "resnet18", "seed": seed, "fold": -1},
        "validation_kappa": 0.5,
        "predictions": {"validation": table, "test": table},
        "generated": {},
    }


def test_referable_disease_and_verdicts(tmp_path: Path) -> None:
    control = Condition("nothing-new", "painter", of="edit", share=0.5)
    conditions = [Condition("oversample"), EDIT, control]
    results = [judged(c, seed, c == EDIT) for c in conditions for seed in range(5)]
    study = analyse(results, config(tmp_path, seeds=5))
    row = study["sets"]["test"][0]
    for name, figure in (("accuracy", accuracy_score), ("sensitivity", recall_score)):
        expected = []
        for result in results[:5]:
            table = result["predictions"]["test"]
            expected.append(figure(*([int(g >= 2) for g in table[key]] for key in ("target", "pred"))))
        assert row[f"referable_{name}"]["value"] == pytest.approx(sum(expected) / 5)
    specific = REFERABLE["referable_specificity"](grade_confusion_matrix(torch.tensor([0, 2]), torch.tensor([1, 1])))
    assert float(specific) == 0.5
    pairs = {(c["a"], c["b"]): c["verdict"] for c in study["comparisons"]["test"]}
    assert pairs[EDIT.id, control.id] == "helps"
    rare = analyse(results, config(tmp_path, seeds=5, severe_share=0.5))
    verdicts = {c["a"]: c["verdict"] for c in rare["comparisons"]["test"]}
    assert verdicts[EDIT.id] == SEEN  # the painter may have seen what the graders were not shown
    for result in results:
        for table in result["predictions"].values():
            table |= {key: [int(g >= 2) for g in table[key]] for key in ("target", "pred")}
    referable = analyse(results, config(tmp_path, seeds=5, grade_map="referable"))
    assert "referable_accuracy" not in referable["sets"]["test"][0]


def test_the_policy_with_the_best_kappa_is_chosen() -> None:
    figures = {"oversample": 0.9, "nothing-new-of-edit--g--share0.5": 0.8, EDIT.id: 0.4, BOTH.id: 0.4}
    rows = [{"condition": name, "kappa": {"value": value}} for name, value in figures.items()]
    assert best_policy(rows) == EDIT.id
    with pytest.raises(ValueError, match="none is of a generative arm"):
        best_policy(rows[:2])


def test_painted_photographs_are_told_by_what_was_painted_and_not_by_the_eye(
    eyes: Photographs, phantom_bank: LesionBank, tmp_path: Path
) -> None:
    made = GeneratedImages(eyes, {"painter": painting_generator(phantom_bank)}, config(tmp_path))
    found = detect_paintings(made, [Condition("oversample"), BOTH])
    assert set(found) == {"edit--painter", "canvas--painter"}
    assert all(figure["all"] is None or 0 <= figure["all"] <= 1 for figure in found.values())
    edits = made.alternatives(EDIT)
    assert edits is not None
    known = {bytes(image.numpy()): 1.0 for image in edits.images}
    marks = detect_paintings(made, [EDIT], lambda x: torch.tensor([[known.get(bytes(i.numpy()), 0.0)] for i in x]))
    assert marks["edit--painter"]["all"] == 1.0


def test_warnings_of_a_rare_grade_and_of_a_gate(tmp_path: Path) -> None:
    real, policies = plain(), ("edit--g--share0.3--gated",)
    material = Material(real, real, {"test": real}, {}, config(tmp_path))
    lines = study_warnings(config(tmp_path, severe_share=0.5, policies=policies), material, "known")
    assert any("and the gate may have seen" in line for line in lines)
    lines = study_warnings(config(tmp_path, cross_validation=3, policies=policies), material, "known")
    assert any("gate's graders may have seen" in line for line in lines)


def test_predicted_masks_stay_predicted(items: list[dict[str, Any]]) -> None:
    """A lesion that was only predicted is checked before it joins the bank, as `build_lesion_bank` does it."""
    lesions = ("ma", "he", "ex", "se")
    bare = [{key: value for key, value in item.items() if key not in (*lesions, "od")} for item in items]
    merged = [
        with_predicted(item if number % 2 else plain, item if number % 2 == 0 else None)
        for number, (item, plain) in enumerate(zip(items, bare, strict=True))
    ]
    photographs = load_photographs(merged, "training", config(Path("out")))
    annotated = [item if number % 2 else plain for number, (item, plain) in enumerate(zip(items, bare, strict=True))]
    wanted = build_lesion_bank(annotated, predicted=items[::2])
    read_ahead(merged, 128, jobs=1)
    assert lesions_of(photographs).digest() == wanted.digest()
    few = photographs.select(range(4))
    assert lesions_of(few).digest() == build_lesion_bank(annotated[:4], predicted=items[:4:2]).digest()
    assert len(MaskComposer(wanted).grades)
    healthy = next(item for item in merged if item["grade"] == 0)
    assert set(lesions) <= set(mask_keys(healthy))  # looked for, and not there
    assert not own_masks(healthy, 128)["he"].any()


def test_work_is_shared_out_and_failures_are_told(tmp_path: Path) -> None:
    mapped(lambda number: (tmp_path / str(number)).touch(), range(5), jobs=2)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2", "3", "4"}
    assert mapped(str, [3, 1, 2], jobs=2) == ["3", "1", "2"]
    assert mapped(lambda row: os.getpid() == row, [os.getpid()], jobs=2) == [False]  # nothing of it in this process

    def failing(number: int) -> None:
        (tmp_path / f"after {1 / number}").touch()

    with pytest.raises(ZeroDivisionError):
        mapped(failing, range(5), jobs=2)
    assert len(list(tmp_path.glob("after *"))) == 4  # the others go on


def test_side_by_side_gives_the_same_results(eyes: Photographs, phantom_bank: LesionBank, tmp_path: Path) -> None:
    generators, found = {"painter": painting_generator(phantom_bank)}, []
    for jobs in (1, 2):
        settings = config(tmp_path / str(jobs), policies=(EDIT.id,), max_epochs=1, seeds=1, batch_size=8, bank_size=1)
        few = eyes.select([0, 1])
        material = Material(eyes, few, {"test": few}, generators, settings)
        runs = list_runs([Condition("oversample"), EDIT], settings)
        with torch.random.fork_rng():
            carry_out(runs, material, jobs)
        found.append([{k: v for k, v in r.items() if k != "timing"} for r in read_results(runs, settings.out)])
    assert found[0] == found[1]
