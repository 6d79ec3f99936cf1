"""The study: analysis on planted predictions, resuming, arms, and the whole of it on phantoms."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import SyntheticDataset, count_label_grades, load_datalist, phantom_fundus
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.study import ARMS, PRESETS, StudyConfig, run_study
from monai_retina_gen.evidence.study.alternatives import _blur, make_alternatives, make_bank, match_texture
from monai_retina_gen.evidence.study.analysis import Gradings, analyse, figure_interval
from monai_retina_gen.evidence.study.arms import Condition, bank_mode, expand_arms, replacement_probabilities
from monai_retina_gen.evidence.study.config import smoke_generator, smoke_synthesizer
from monai_retina_gen.evidence.study.detection import auc, cross_fitted_scores
from monai_retina_gen.evidence.study.material import GeneratedImages, _folds
from monai_retina_gen.evidence.study.photographs import Photographs, load_photographs
from monai_retina_gen.evidence.study.training import TrainingPhotographs, classic_transform, train_grader
from monai_retina_gen.metrics import accuracy_from_confusion, holm, kappa_from_confusion
from monai_retina_gen.networks import FundusGrader
from monai_retina_gen.weights import save_state

GRADES = [0] * 60 + [1] * 10 + [2] * 60 + [3] * 40 + [4] * 30


def photographs(grades: list[int], size: int = 32) -> Photographs:
    images = (torch.rand(len(grades), 3, size, size, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    items = [{"image": f"/somewhere/{i}.png", "group": f"eye{i}", "grade": g} for i, g in enumerate(grades)]
    return Photographs.of(images, torch.tensor(grades), grades, items)


def planted(arm: str, right: float, seed: int, validation: float, generator: str = "", of: str = "") -> dict[str, Any]:
    """Result of a run that grades right with the given probability and by chance otherwise."""
    random = torch.Generator().manual_seed(1000 * list(ARMS).index(arm) + seed)
    target = torch.tensor(GRADES)
    guess = torch.randint(5, target.shape, generator=random)
    pred = torch.where(torch.rand(target.shape, generator=random) < right, target, guess)
    names = [f"{i}.png" for i in range(len(GRADES))]
    judged = {"image": names, "group": names, "target": GRADES, "pred": pred.tolist()}
    run = {"id": arm, "arm": arm, "generator": generator, "ratio": 1.0 if generator else 0.0, "of": of}
    return {
        "run": {**run, "grader": "resnet18", "seed": seed, "fold": -1},
        "validation_kappa": validation,
        "predictions": {"validation": judged, "test": judged},
        "generated": {},
    }


def planted_study(generative: float, baseline: float = 0.5, seeds: int = 5) -> dict[str, Any]:
    results = []
    for seed in range(seeds):
        results += [
            planted("none", 0.4, seed, 0.3),
            planted("oversample", baseline, seed, 0.4),
            planted("texture-matched", baseline, seed, 0.9, "vae", of="sample"),
            planted("sample", generative, seed, 0.5, "vae"),
            planted("sample-uniform", 0.1, seed, 0.2, "vae"),
        ]
    return analyse(results, StudyConfig(datalist="-", out="-"))


def test_planted_gain_is_found_and_named_by_validation() -> None:
    primary = planted_study(generative=0.85)["primary"]
    assert (primary["a"], primary["b"]) == ("sample--vae--1", "oversample")  # a control never is the primary arm
    assert primary["verdict"] == "helps"
    assert 0 < primary["kappa"]["low"] < primary["kappa"]["value"] < primary["kappa"]["high"]
    assert primary["kappa"]["detectable"] > 2.8 * primary["kappa"]["standard_error"]  # of t, not of the normal


def test_planted_harm_is_found() -> None:
    assert planted_study(generative=0.15)["primary"]["verdict"] == "harms"


def test_no_effect_is_no_conclusion() -> None:
    study = planted_study(generative=0.5)
    assert study["primary"]["verdict"] == "no conclusion"
    assert "no conclusion" in study["primary"]["words"]
    assert "could have detected" in study["primary"]["words"]


def test_comparisons_hold_the_controls_and_are_corrected() -> None:
    comparisons = planted_study(generative=0.85)["comparisons"]["test"]
    pairs = {(c["a"], c["b"]) for c in comparisons}
    assert ("sample--vae--1", "texture-matched-of-sample--vae--1") in pairs
    assert not any(a.startswith("sample-uniform") and b != "oversample" for a, b in pairs)  # it has no control here
    others = [c for c in comparisons if not c["primary"]]
    assert [c["p_holm"] for c in others] == holm([c["kappa"]["p"] for c in others])
    assert sum(c["primary"] for c in comparisons) == 1


def test_without_generative_arms_there_is_no_primary_comparison() -> None:
    results = [planted("none", 0.4, 0, 0.3), planted("oversample", 0.5, 0, 0.4)]
    study = analyse(results, StudyConfig(datalist="-", out="-"))
    assert study["primary"]["words"].startswith("No primary comparison")


def test_figures_agree_with_scikit_learn() -> None:
    results = [planted("none", 0.6, seed, 0.3) for seed in range(3)]
    row = analyse(results, StudyConfig(datalist="-", out="-"))["sets"]["test"][0]
    kappas = [cohen_kappa_score(r["predictions"]["test"]["pred"], GRADES, weights="quadratic") for r in results]
    assert row["kappa"]["value"] == pytest.approx(sum(kappas) / 3)
    assert sum(map(sum, row["confusion"])) == 3 * len(GRADES)


def gradings(preds: torch.Tensor, target: torch.Tensor) -> Gradings:
    groups = [str(i) for i in range(len(target))]
    return Gradings(preds, target, groups, ["resnet18"] * len(preds), 5)


@pytest.mark.parametrize("seeds", [1, 4])
def test_few_seeds_give_no_verdict(seeds: int) -> None:
    study = planted_study(generative=0.95, seeds=seeds)
    assert study["primary"]["kappa"]["low"] > 0
    assert {c["verdict"] for c in study["comparisons"]["test"]} == {"no verdict, too few seeds"}
    assert "Verdict: no verdict, too few seeds." in study["primary"]["words"]


def test_difference_of_equal_gradings_is_nothing() -> None:
    target = torch.arange(50) % 5
    same = gradings(target.roll(1)[None], target)
    difference = figure_interval(same, kappa_from_confusion, same)
    assert (difference["value"], difference["low"], difference["high"], difference["p"]) == (0.0, 0.0, 0.0, 1.0)


def test_difference_refuses_other_photographs() -> None:
    target = torch.arange(50) % 5
    first = gradings(target[None], target)
    others = [gradings(target[None], target.flip(0)), Gradings(target[None], target, ["eye"] * 50, ["resnet18"], 5)]
    for other in others:
        with pytest.raises(ValueError, match="same photographs"):
            figure_interval(first, accuracy_from_confusion, other)


def test_probabilities_keep_real_showings_and_the_synthetic_total() -> None:
    real = photographs(GRADES, size=8)
    sample = replacement_probabilities(Condition("sample", "vae", 1.0), real)
    # grade g is drawn 1/5 of the time; what stays real is then in proportion to its photographs
    assert [1 - sample[g] for g in range(5)] == pytest.approx([GRADES.count(g) / 60 for g in range(5)])
    uniform = replacement_probabilities(Condition("sample-uniform", "vae", 1.0), real)
    assert len(set(uniform.values())) == 1
    assert sum(uniform.values()) == pytest.approx(sum(sample.values()))
    half = replacement_probabilities(Condition("reconstruct", "vae", 0.5, of="sample"), real)
    assert half == pytest.approx({g: p / 2 for g, p in sample.items()})
    edit = replacement_probabilities(Condition("edit", "vae", 1.0), real)
    assert edit[0] == edit[1] == 0
    assert edit[4] == sample[4]
    assert replacement_probabilities(Condition("texture-matched", "vae", 1.0, of="edit"), real) == edit
    assert not any(replacement_probabilities(Condition("oversample"), real).values())


def test_arms_that_make_no_sense_are_left_out_with_a_reason() -> None:
    generator = smoke_generator()
    config = StudyConfig(datalist="-", out="-", arms=tuple(ARMS), image_size=64, ratios=(0.5, 1.0))
    conditions, skipped = expand_arms(config, {"vae": generator}, photographs(GRADES, size=8))
    assert [c.ratio for c in conditions if c.arm == "sample"] == [0.5, 1.0]
    assert [c.ratio for c in conditions if c.arm == "reconstruct"] == [1.0]
    assert {(c.arm, c.of) for c in conditions if c.of} == {("reconstruct", "sample"), ("texture-matched", "sample")}
    assert [line.split(" with ")[0] for line in skipped] == [
        "nothing-new",
        "edit",
        "canvas",
        "edit-canvas",
        "synthesize",
    ]
    assert "no mode 'edit'" in skipped[1]
    assert "no mode 'synthesize'" in skipped[4]
    larger = StudyConfig(datalist="-", out="-", arms=("none", "sample"), image_size=128)
    assert "64 px" in expand_arms(larger, {"vae": generator}, photographs(GRADES, size=8))[1][0]
    assert "no generator" in expand_arms(config, {}, photographs(GRADES, size=8))[1][0]
    assert "not rarer" in expand_arms(config, {"vae": generator}, photographs([0, 1, 2, 3, 4], size=8))[1][0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("selection", "luck"),
        ("arms", ("magic",)),
        ("arms", ("none", "none")),
        ("graders", ()),
        ("ratios", (0.0,)),
        ("seeds", 0),
        ("cross_validation", 2),
        ("grade_map", "good"),
    ],
)
def test_bad_settings_are_named(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=setting):
        StudyConfig(datalist="-", out="-", **{setting: value})


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_have_the_baseline(preset: str) -> None:
    config = StudyConfig(**{"datalist": "-", "out": "-", **PRESETS[preset]})
    assert "oversample" in config.arms
    assert json.loads(json.dumps(config.settings()))["graders"] == list(config.graders)


def test_graders_start_from_the_weights_that_are_named(tmp_path: Path) -> None:
    start = FundusGrader(backbone="resnet18")
    save_state(start.state_dict(), tmp_path / "start.pt")
    options = {"init_weights": str(tmp_path / "start.pt"), "learning_rate": 1e-12, "weight_decay": 0.0}
    config = StudyConfig(datalist="-", out="-", max_epochs=1, batch_size=8, **options)
    data = TrainingPhotographs(photographs([0, 2] * 8), lambda image: image, dict.fromkeys(range(5), 0.0))
    network, _ = train_grader(data, data.photographs, balanced=False, backbone="resnet18", config=config, seed=0)
    for before, after in zip(start.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("arm", "recipe"), itertools.product(("none", "flip", "rotate", "color", "sample"), ("default", "cheng2021"))
)
def test_classic_augmentation_keeps_shape(arm: str, recipe: str) -> None:
    torch.manual_seed(1)
    images = torch.rand(1, 3, 24, 24).expand(8, -1, -1, -1)
    changed = classic_transform(arm, recipe)(images)
    assert changed.shape == images.shape
    assert torch.equal(changed, images) == (arm == "none")
    assert arm == "none" or not torch.equal(changed[:4], changed[4:])  # each image by its own draw


def test_texture_matching_finds_a_planted_blur() -> None:
    images = torch.stack([phantom_fundus(seed=s, size=64).image for s in range(4)])
    real = Photographs.of(
        (images * 255).to(torch.uint8), torch.zeros(4).long(), [0] * 4, [{"image": "x.png", "group": "x"}] * 4
    )
    blurred = (_blur(real.floats(), 1.5) * 255).round().to(torch.uint8)
    matched, sigma = match_texture(real, blurred, [0] * 4)
    assert sigma == pytest.approx(1.5, abs=0.1)
    assert (matched - blurred / 255).abs().max() < 0.05
    assert match_texture(real, real.images, [0] * 4)[1] == 0.0


def test_detection_separates_what_differs_and_not_what_is_equal() -> None:
    random = torch.Generator().manual_seed(0)
    features, truth = torch.randn(400, 6, generator=random), (torch.arange(400) % 2).float()
    grades, groups = torch.zeros(400, dtype=torch.long), [str(i) for i in range(400)]
    equal = auc(cross_fitted_scores(features, truth, grades, groups), truth)
    assert equal == pytest.approx(0.5, abs=0.1)
    features[:, 0] += 3 * truth
    scores = cross_fitted_scores(features, truth, grades, groups)
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-3)
    assert auc(scores, truth) > 0.9


def test_folds_cover_all_and_keep_groups_together() -> None:
    real = photographs(GRADES, size=8)
    items = [{**item, "group": f"patient{i // 2}"} for i, item in enumerate(real.items)]
    folds = _folds(Photographs.of(real.images, real.labels, real.grades, items), 5, seed=1)
    assert [folds[i] for i in range(0, 200, 2)] == [folds[i] for i in range(1, 200, 2)]
    assert all(30 <= folds.count(fold) <= 50 for fold in range(5))
    assert folds != _folds(real, 5, seed=2)


def tiny(phantom_list: Path, out: Path, **changes: Any) -> StudyConfig:
    few = {"arms": ("none", "oversample", "sample"), "seeds": 1, "image_size": 48, "max_epochs": 1, "batch_size": 10}
    return StudyConfig(**{"datalist": str(phantom_list), "out": str(out), "bank_size": 3, **few, **changes})


@pytest.fixture(scope="module")
def unbalanced_list(phantom_list: Path) -> Path:
    """The session's phantoms without half of grade 4 in training, so that there is something to balance."""
    datalist = json.loads(phantom_list.read_text(encoding="utf-8"))
    rare = [item for item in datalist["training"] if item["grade"] == 4]
    datalist["training"] = [item for item in datalist["training"] if item not in rare[1:]]
    path = phantom_list.with_name("unbalanced.json")
    path.write_text(json.dumps(datalist))
    return path


def without_times(path: Path) -> bytes:
    study = json.loads(path.read_text(encoding="utf-8"))
    del study["timing"]
    return json.dumps(study, sort_keys=True).encode()


def test_killed_and_resumed_it_ends_with_the_same_bytes(unbalanced_list: Path, tmp_path: Path) -> None:
    generators = {"vae": smoke_generator()}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    study = run_study(tiny(unbalanced_list, whole), generators)
    assert {run["steps"] for run in study["runs"]} == {2}
    shares = {run["run"]["arm"]: run["replaced_share"] for run in study["runs"]}
    assert shares["none"] == shares["oversample"] == 0 < shares["sample"]
    shutil.copytree(whole, killed)
    for lost in ("runs/sample--vae--1--resnet18--seed0", "tables", "plots"):
        shutil.rmtree(killed / lost)
    (killed / "study.json").unlink()
    untouched = (killed / "runs/none--resnet18--seed0/result.json").stat().st_mtime_ns
    run_study(tiny(unbalanced_list, killed), generators)
    assert without_times(killed / "study.json") == without_times(whole / "study.json")
    assert (killed / "runs/none--resnet18--seed0/result.json").stat().st_mtime_ns == untouched
    with pytest.raises(ValueError, match="max_epochs: 1 there, 2 now"):
        run_study(tiny(unbalanced_list, killed, max_epochs=2), generators)
    assert not list(whole.rglob("*.part"))


def test_results_that_were_kept_are_gone_on_from(phantom_list: Path, tmp_path: Path) -> None:
    """Settings and results are enough: what was generated, tables and plots are made anew."""
    first, again = tmp_path / "first", tmp_path / "again"
    config = tiny(phantom_list, first, arms=("oversample", "none"))
    run_study(config, {})
    kept = ["settings.json", "runs/oversample--resnet18--seed0/result.json"]
    for name in kept:
        (again / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(first / name, again / name)
    before = [(again / name).stat().st_mtime_ns for name in kept[1:]]
    run_study(replace(config, out=str(again)), {})
    assert [(again / name).stat().st_mtime_ns for name in kept[1:]] == before
    assert without_times(again / "study.json") == without_times(first / "study.json")


@pytest.mark.slow
def test_cross_validation_and_external_sets(unbalanced_list: Path, tmp_path: Path) -> None:
    config = tiny(
        unbalanced_list, tmp_path / "out", arms=("oversample", "sample"), cross_validation=3, grade_map="referable",
        external=(str(unbalanced_list.with_name("datalist.json")),),
    )  # fmt: skip
    study = run_study(config, {"vae": smoke_generator()})
    assert len(study["runs"]) == 6
    assert set(study["sets"]) == {"test", "phantom fundus", "cross-validation"}
    pooled = study["sets"]["cross-validation"][0]
    assert (pooled["n"], pooled["graders_trained"]) == (29, 1)
    assert len(pooled["confusion"]) == 2
    assert any("may have seen" in line for line in study["warnings"])


@pytest.mark.slow
def test_smoke_preset_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--preset", "smoke", "--seeds", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Primary comparison: sample--untrained--1" in printed
    assert "edit with untrained: left out" in printed
    assert "AUC" in printed
    for name in ("zhao2023_table2", "drgan_table3", "drgan_table4", "drgan_table5", "cheng2021_table1"):
        assert (tmp_path / "tables" / f"{name}.csv").stat().st_size > 20
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "test_figures.png", "test_confusion.png", "test_differences.png", "validation.png"
    }  # fmt: skip


def test_a_generator_that_makes_images_from_masks(phantom_folder: Path, tmp_path: Path) -> None:
    """Arms of DR-GAN: its bank is synthesized for the photographs' own vessels, lesions composed after the grade."""
    config = StudyConfig(
        datalist=str(phantom_folder / "datalist.json"),
        out=str(tmp_path),
        **{**PRESETS["smoke"], "arms": ("none", "oversample", "texture-matched", "sample", "synthesize"), "seeds": 1},
    )
    items = [{**i, "grade": min(i["grade"], 3)} for i in load_datalist(config.datalist)["training"]]
    real = load_photographs(items, "training", config)
    generator = smoke_synthesizer()
    conditions, skipped = expand_arms(config, {"drgan": generator}, real)
    assert [c.id for c in conditions] == [
        "none", "oversample", "texture-matched-of-synthesize--drgan--1", "synthesize--drgan--1"
    ]  # fmt: skip
    assert "no mode 'sample'" in skipped[0]
    bare = Photographs.of(real.images, real.labels, real.grades, [{"image": i["image"], "group": "x"} for i in items])
    assert "have no masks (vessel)" in expand_arms(config, {"drgan": generator}, bare)[1][-1]
    assert GeneratedImages(bare, {"drgan": generator}, config).banks == {}
    bank = make_bank(generator, real, tmp_path / "bank", config, "synthesize")
    made = make_alternatives("synthesize", generator, real, config, bank=bank)
    assert bank.images.shape[1:] == (3, 48, 48)
    for row, grade in enumerate(real.grades):
        assert {bank.grades[i] for i in made.rows[row].tolist()} <= {grade}
    records = [json.loads(item["generated"]) for item in SyntheticDataset(tmp_path / "bank").data]
    assert {record["mode"] for record in records} == {"synthesize"}
    assert all("composed_from" in record["options"] for record in records)


def test_labels_get_images_of_their_grades(phantom_folder: Path, tmp_path: Path) -> None:
    """A datalist of labels alone: photographs are replaced by images of their label's grades, in its shares."""
    items = load_datalist(phantom_folder / "datalist.json")["training"]
    labelled = [{**{k: v for k, v in i.items() if k != "grade"}, "dr": int(i["grade"] > 0)} for i in items]
    stands_for = {0: 0, 1: {2: 2, 4: 1}}
    labels = {"label_key": "dr", "label_grades": stands_for}
    config = StudyConfig(datalist="x", out=str(tmp_path), **{**PRESETS["smoke"], **labels})
    assert config.num_classes == 2
    real = load_photographs(labelled, "training", config)
    assert real.labels.tolist() == [item["dr"] for item in labelled]
    sick = [grade for grade, label in zip(real.grades, real.labels.tolist(), strict=True) if label]
    assert sick.count(2) == pytest.approx(len(sick) * 2 / 3, abs=1)
    assert sick.count(2) + sick.count(4) == len(sick)
    generator = smoke_generator()
    bank = make_bank(generator, real, tmp_path / "bank", config)
    rows = make_alternatives("sample", generator, real, config, bank=bank).rows
    for label, of in zip(real.labels.tolist(), rows, strict=True):
        assert {bank.grades[row] for row in of.tolist()} <= ({2, 4} if label else {0})
    arms = replace(config, arms=("sample", "edit", "synthesize", "reconstruct"))
    conditions, skipped = expand_arms(arms, {"drgan": smoke_synthesizer(), "untrained": generator}, real)
    assert {condition.arm for condition in conditions} == {"sample"}
    assert sum("their labels stand for several" in line for line in skipped) == 2


def test_labels_are_not_taken_for_grades(phantom_folder: Path, tmp_path: Path) -> None:
    datalist = load_datalist(phantom_folder / "datalist.json")
    binary = {**datalist, "training": [{**i, "grade": int(i["grade"] > 1)} for i in datalist["training"]]}
    settings: dict[str, Any] = {**PRESETS["smoke"], "out": str(tmp_path)}
    with pytest.raises(DatalistError, match=r"training: only the labels \[0, 1\] occur"):
        run_study(StudyConfig(datalist=binary, **settings), {"untrained": smoke_generator()})
    mapped = load_datalist(phantom_folder / "datalist.json", grade_map="referable")
    with pytest.raises(DatalistError, match=r"without grade_map.*label_grades=\{0: \{0: "):
        run_study(StudyConfig(datalist=mapped, **settings), {})
    known = count_label_grades(mapped["training"])
    config = StudyConfig(datalist=mapped, label_grades=known, **settings)
    real = load_photographs(mapped["training"], "training", config)
    assert (real.grades, real.own_grades) == ([item["icdr_grade"] for item in mapped["training"]], True)


@pytest.mark.parametrize(
    ("modes", "arm", "arms", "wanted"),
    [
        ({"sample"}, "sample", ("sample",), "sample"),
        ({"sample"}, "", ("none",), "sample"),
        ({"sample", "synthesize"}, "synthesize", ("sample", "synthesize"), "synthesize"),
        ({"sample", "synthesize"}, "sample", ("sample", "synthesize"), "sample"),
        ({"sample", "synthesize"}, "", ("texture-matched", "synthesize"), "synthesize"),
        ({"sample", "synthesize"}, "", ("sample", "synthesize"), "sample"),
        ({"sample", "synthesize"}, "", ("none",), "sample"),
    ],
)
def test_mode_of_the_images_of_an_arm(modes: set[str], arm: str, arms: tuple[str, ...], wanted: str) -> None:
    generator = smoke_synthesizer()
    generator.modes = frozenset(modes)
    assert bank_mode(arm, generator, arms) == wanted
