"""Curation: who is kept and why, the data set, going on, storing into a bundle, filtering, errors."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import SyntheticDataset, load_datalist
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.evidence.curation.candidates import REASONS, CandidatePool, select
from monai_retina_gen.evidence.curation.curation import Curation, curate
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import photographs
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge
from monai_retina_gen.generators import GANGenerator, RetinaGenerator, load_generator, regenerate
from monai_retina_gen.metrics import realism_score
from monai_retina_gen.networks import DeconvolutionGenerator
from monai_retina_gen.weights import CHECKPOINT, pinned_sha256, save_state, sha256_file

NETWORK: dict[str, Any] = {"latent_dim": 10, "width": 4, "curated_per_class": 6}


class BrightnessJudge:
    """Grades 0-2 by a digit of the mean brightness and is the surer the larger the next one: fixed, and no trend."""

    name = "brightness"

    def probabilities(self, images: Tensor, groups: Any = None) -> Tensor:
        digits = (images.double().mean((1, 2, 3)) * 2000) % 3
        confidence = (0.4 + 0.6 * digits % 1).float()[:, None]
        grade = torch.eye(5)[digits.long()]
        return grade * confidence + (1 - grade) * (1 - confidence) / 4

    def as_dict(self) -> dict[str, Any]:
        return {"name": "brightness", "sha256": "", "image_size": 0}


def _extractor() -> Extractor:
    return Extractor(nn.Flatten(), name="pixels", sha256="", input_size=4)


@pytest.fixture(scope="module")
def wgan_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature unconditional bundle, untrained, nothing curated."""
    bundle = tmp_path_factory.mktemp("bundles") / "tiny_wgan"
    (bundle / "configs").mkdir(parents=True)
    torch.manual_seed(0)
    network = DeconvolutionGenerator(**NETWORK)
    with torch.no_grad():
        for weight in network.parameters():  # far enough from its initialisation that images differ
            weight *= 10 if weight.ndim > 1 else 1
        for _ in range(30):
            network(torch.rand(64, 10) * 2 - 1)
    save_state(network.state_dict(), bundle / CHECKPOINT, half=True)
    target = {"_target_": "monai_retina_gen.networks.DeconvolutionGenerator", **NETWORK}
    generator = {"_target_": "monai_retina_gen.generators.GANGenerator", "network": "@network_def"}
    (bundle / "configs" / "inference.json").write_text(json.dumps({"network_def": target, "generator": generator}))
    pin = {"version": "0.0.1", "weights": {CHECKPOINT: {"sha256": sha256_file(bundle / CHECKPOINT)}}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(pin))
    return bundle


@pytest.fixture(scope="module")
def items(phantom_list: Path) -> list[dict[str, Any]]:
    return load_datalist(phantom_list)["training"][:8]


def _curate(generator: Any, items: Sequence[Any], out: Path, **options: Any) -> Curation:
    defaults = {"candidates": 30, "per_grade": 4, "realism": 0.0, "confidence": 0.6, "batch_size": 8}
    roles: dict[str, Any] = {"graders": [BrightnessJudge()], "extractor": _extractor()}
    return curate(generator, items, out, **{**defaults, **roles, **options})


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(0, 3), st.booleans(), st.integers(0, 4), st.floats(0.3, 1), st.integers(0, 4)),
        min_size=1,
        max_size=25,
    ),
    per_grade=st.integers(1, 4),
    asks=st.booleans(),
)
def test_selection_keeps_the_first_that_pass(rows: list[Any], per_grade: int, asks: bool) -> None:
    probabilities = torch.stack([torch.eye(5)[g] * p + (1 - torch.eye(5)[g]) * (1 - p) / 4 for *_, g, p, _ in rows])
    asked = [a for *_, a in rows] if asks else None
    realism = torch.tensor([r for r, *_ in rows])
    found = select(
        realism, [c for _, c, *_ in rows], probabilities, asked, per_grade=per_grade, min_realism=1.0, confidence=0.5
    )
    passing = [
        not c and realism[i] >= 1 and probabilities[i].max() >= 0.5 and (not asks or a == g)
        for i, (_, c, g, _, a) in enumerate(rows)
    ]
    for grade in range(5):
        candidates = [i for i, (_, _, g, _, _) in enumerate(rows) if passing[i] and g == grade]
        assert found.rows(grade=grade) == candidates[:per_grade]
        assert found.rows(reason="grade full", grade=grade) == candidates[per_grade:]
    assert set(found.reasons) <= {"", *REASONS}
    assert [reason in ("", "grade full") for reason in found.reasons] == [bool(p) for p in passing]


def test_what_is_kept_passes_and_everything_is_counted(wgan_bundle: Path, items: Any, tmp_path: Path) -> None:
    generator = load_generator(wgan_bundle)
    threshold = _curate(generator, items, tmp_path).report["realism"]["quantiles"]["0.5"]
    result = _curate(generator, items, tmp_path, realism=threshold)
    assert sum(result.kept.values()) >= 4  # or what follows says nothing
    assert len([n for n in result.kept.values() if n]) >= 2
    assert min(result.report["refused"][reason] for reason in ("unrealistic", "unsure", "grade full")) > 0
    dataset = SyntheticDataset(tmp_path)
    images = torch.stack([read_image(item["image"]) for item in dataset])
    grades = [item["grade"] for item in dataset]
    extractor = _extractor()
    real = photographs(items, 64).features(extractor)
    assert (realism_score(real, extractor(images)) >= threshold).all()
    probabilities = BrightnessJudge().probabilities(images)
    assert probabilities.argmax(1).tolist() == grades
    assert (probabilities.max(1).values >= 0.6).all()
    assert {g: grades.count(g) for g in result.kept} == result.kept
    report = json.loads((tmp_path / "curation.json").read_text())
    assert report == json.loads(json.dumps(result.report))
    assert sum(result.kept.values()) + sum(report["refused"].values()) == 30
    assert all(sum(g["refused"].values()) + g["kept"] == g["candidates"] for g in report["grades"].values())
    assert [report["grades"][str(g)]["lacking"] for g in (3, 4)] == [4, 4]  # the judge never sees them
    judged = BrightnessJudge().probabilities(photographs(items, 64).floats())
    sure = [i for i in range(len(items)) if judged[i].max() >= 0.6]
    beside = report["confidence"]["photographs"]
    assert beside["share_passing"] == pytest.approx(len(sure) / len(items))
    right = sum(int(judged[i].argmax()) == items[i]["grade"] for i in sure)
    assert beside["agreement"] == (pytest.approx(right / len(sure)) if sure else None)
    assert load_datalist(tmp_path / "datalist.json")["training"][0]["grade"] == grades[0]
    assert read_image(tmp_path / "kept.png").shape[1] == 5 * 96
    assert (tmp_path / "refused.png").is_file()
    # the record alone makes the image again
    record = GenerationRecord.from_json(dataset[0]["generated"])
    again = regenerate(record, bundle=wgan_bundle).image[0]
    assert (again - images[0]).abs().max() <= 1.01 / 255
    assert "brightness" in record.label
    assert record.seed in report["seeds"][str(record.grade)]


def test_stopped_and_started_again_gives_the_same_bytes(wgan_bundle: Path, items: Any, tmp_path: Path) -> None:
    class Stops(BrightnessJudge):
        left = 3  # the photographs and two batches

        def probabilities(self, images: Tensor, groups: Any = None) -> Tensor:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().probabilities(images)

    with pytest.raises(KeyboardInterrupt):
        _curate(str(wgan_bundle), items, tmp_path / "stopped", graders=[Stops()])
    assert len(list((tmp_path / "stopped" / "candidates").glob("0*.pt"))) == 2
    _curate(str(wgan_bundle), items, tmp_path / "stopped")
    _curate(str(wgan_bundle), items, tmp_path / "whole")
    assert _digest(tmp_path / "stopped") == _digest(tmp_path / "whole")


def test_other_thresholds_choose_anew_among_the_same(wgan_bundle: Path, items: Any, tmp_path: Path) -> None:
    class Never(BrightnessJudge):
        def probabilities(self, images: Tensor, groups: Any = None) -> Tensor:
            raise AssertionError("drawn again")

    few = _curate(str(wgan_bundle), items, tmp_path, candidates=24, per_grade=2)
    strict = _curate(str(wgan_bundle), items, tmp_path, candidates=24, confidence=0.999, graders=[Never()])
    assert sum(strict.kept.values()) < sum(few.kept.values()) or strict.report["seeds"] != few.report["seeds"]
    assert len(list((tmp_path / "images").rglob("*.png"))) == len(SyntheticDataset(tmp_path))  # no older one is left
    more = _curate(str(wgan_bundle), items, tmp_path, candidates=40, per_grade=2)
    for grade, seeds in few.report["seeds"].items():
        assert more.report["seeds"][grade][: len(seeds)] == seeds
    with pytest.raises(ValueError, match=r"other settings \(extractor \(name\), seed: \d+ there"):
        _curate(
            str(wgan_bundle),
            items,
            tmp_path,
            seed=1,
            extractor=Extractor(nn.Flatten(), name="other", sha256="", input_size=4),
        )


def test_storing_makes_the_bundle_sample_by_grade(wgan_bundle: Path, items: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "tiny_wgan"
    shutil.copytree(wgan_bundle, bundle)
    result = _curate(str(bundle), items, tmp_path / "out", store_in=bundle)
    generator = load_generator(bundle)
    assert isinstance(generator, GANGenerator)
    assert generator.network.curated_counts.tolist() == list(result.kept.values())
    assert pinned_sha256(bundle, CHECKPOINT) == result.report["generator"]["weights_sha256"]
    for item in SyntheticDataset(tmp_path / "out"):
        record = GenerationRecord.from_json(item["generated"])
        judged = read_image(item["image"])
        assert (regenerate(record, bundle=bundle).image[0] - judged).abs().max() <= 1.01 / 255
    judged = read_image(SyntheticDataset(tmp_path / "out")[0]["image"])
    grade = next(g for g, n in result.kept.items() if n)
    assert (generator.sample([grade], seeds=[0]).image[0] - judged).abs().max() <= 1.01 / 255
    before = _digest(tmp_path)
    _curate(str(bundle), items, tmp_path / "out", store_in=bundle)  # its weights have another hash by now
    assert _digest(tmp_path) == before


def test_half_precision_of_latents_is_below_a_step_of_eight_bits(wgan_bundle: Path, items: Any, tmp_path: Path) -> None:
    result = _curate(str(wgan_bundle), items, tmp_path, candidates=16, realism=0.0, confidence=0.01, per_grade=20)
    generator = load_generator(wgan_bundle)
    assert isinstance(generator, GANGenerator)
    seeds = [seed for seeds in result.report["seeds"].values() for seed in seeds]
    kept = torch.cat(result.latents)
    assert len(seeds) == 16
    assert torch.equal(kept, kept.half().float())  # storing loses nothing
    exact = generator.images(generator.latents(seeds))
    judged = torch.stack([read_image(item["image"]) for item in SyntheticDataset(tmp_path)])
    assert (exact - judged).abs().max() <= 1.5 / 255


def test_a_bundle_that_cannot_take_them_is_refused(
    wgan_bundle: Path, vae_bundle: Path, items: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="6 places"):
        _curate(str(wgan_bundle), items, tmp_path, per_grade=7, store_in=wgan_bundle)
    with pytest.raises(ValueError, match="takes grades"):
        _curate(str(vae_bundle), items, tmp_path, store_in=vae_bundle)
    other = GANGenerator(DeconvolutionGenerator(**NETWORK))
    with pytest.raises(ValueError, match="not those of generator"):
        _curate(other, items, tmp_path, store_in=wgan_bundle)


def test_a_generator_that_takes_grades_is_filtered(vae_bundle: Path, items: Any, tmp_path: Path) -> None:
    class SeesGrade3(BrightnessJudge):
        def probabilities(self, images: Tensor, groups: Any = None) -> Tensor:
            return torch.eye(5)[[3] * len(images)]

    result = _curate(str(vae_bundle), items, tmp_path, graders=[SeesGrade3()], candidates=12)
    assert result.report["seeds"] == {"0": [], "1": [], "2": [], "3": [3, 8], "4": []}  # asked for 0, 1, 2, 3, 4, 0...
    assert result.report["refused"]["other grade"] == 10
    assert result.latents == []
    item = SyntheticDataset(tmp_path)[1]
    record = GenerationRecord.from_json(item["generated"])
    assert (regenerate(record, bundle=vae_bundle).image[0] - read_image(item["image"])).abs().max() <= 1.01 / 255


def test_copies_are_refused(items: Any, tmp_path: Path) -> None:
    class Copies(RetinaGenerator):
        """Returns the photographs themselves, every other one darker."""

        modes = frozenset({"sample"})
        image_size, conditional = 64, False

        def latents(self, seeds: Sequence[int]) -> Tensor:
            return torch.tensor(seeds, dtype=torch.float32)[:, None]

        def images(self, latents: Tensor, grades: Tensor | None = None) -> Tensor:
            rows = latents[:, 0].long() % len(real)
            return real.floats(rows.tolist()) * (1 - 0.3 * (rows % 2))[:, None, None, None]

    real = photographs(items, 64)
    result = _curate(Copies(nn.Identity()), items, tmp_path, candidates=len(real), realism=0.0, confidence=0.01)
    assert result.selection.rows(reason="copy") == list(range(0, len(real), 2))


def test_nothing_kept_is_no_error(wgan_bundle: Path, items: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "tiny_wgan"
    shutil.copytree(wgan_bundle, bundle)
    result = _curate(str(bundle), items, tmp_path / "out", realism=1e9, store_in=bundle)
    assert sum(result.kept.values()) == 0
    assert result.report["stored"] is None
    assert result.report["refused"]["unrealistic"] == 30
    assert len(SyntheticDataset(tmp_path / "out")) == 0


def test_graders_are_averaged(wgan_bundle: Path, items: Any, tmp_path: Path) -> None:
    class Says(nn.Module):
        def __init__(self, grade: int) -> None:
            super().__init__()
            self.grade = grade

        def forward(self, image: Tensor) -> Tensor:
            return torch.eye(5)[[self.grade] * len(image)] * image.shape[-1]

    judges = [GraderJudge(Says(1), name="a", image_size=4), GraderJudge(Says(2), name="b")]
    pool = CandidatePool(tmp_path, load_generator(wgan_bundle), _extractor(), judges)
    found = pool.probabilities(torch.rand(3, 3, 8, 8))
    expected = (torch.eye(5)[1] * 4).softmax(0) / 2 + (torch.eye(5)[2] * 8).softmax(0) / 2
    torch.testing.assert_close(found, expected.expand(3, 5))
    with pytest.raises(ValueError, match="graders is empty"):
        _curate(str(wgan_bundle), items, tmp_path, graders=[])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 0.0}, "confidence=0.0"),
        ({"confidence": 1.1}, "confidence=1.1"),
        ({"realism": -1.0}, "realism=-1.0"),
        ({"candidates": 0}, "candidates: 0"),
        ({"per_grade": 0}, "per_grade: 0"),
    ],
)
def test_bad_numbers_are_named(
    wgan_bundle: Path, items: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _curate(str(wgan_bundle), items, tmp_path, **options)
    with pytest.raises(ValueError, match="items holds 3 photographs"):
        _curate(str(wgan_bundle), items[:3], tmp_path)


def test_command(wgan_bundle: Path, grader_bundle: Path, phantom_list: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["model", "curate", "--generator", str(wgan_bundle), "--out", str(tmp_path / "c")]
    words += [
        "--datalist",
        str(phantom_list),
        "--graders",
        str(grader_bundle),
        "--extractor",
        str(grader_bundle),
        "--candidates",
        "8",
    ]
    words += ["--per-grade", "2", "--realism", "0", "--confidence", "0.1", "--batch-size", "8"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "kept 2 of 8" in printed
    assert "grade 1: kept 0 of 0 candidates: 2 too few" in printed or "grade 0: kept 0 of 0" in printed
    assert "One grader" in printed
    assert "same network" in printed
    assert main([*words, "--datalist", f"{phantom_list}:test"]) == 2
    assert "nothing is selected on test photographs" in capsys.readouterr().err
