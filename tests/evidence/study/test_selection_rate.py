"""The selection-rate study: rankings, figures, tables, going on, the bundle's training, errors."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import Datalist, SelectionRateFilter, load_datalist, save_datalist
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import DatalistError, WeightsError
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, photographs, sampled_images
from monai_retina_gen.evidence.study.selection_rate import training as selection_rate_training
from monai_retina_gen.evidence.study.selection_rate.study import SelectionRateStudy, critic_scores, groups_of
from monai_retina_gen.evidence.study.selection_rate.training import BundleTrainer, Trained, parse_overrides
from monai_retina_gen.generators import GANGenerator
from monai_retina_gen.metrics import evaluate_features, realism_score
from monai_retina_gen.networks import ResidualCritic, ResidualGenerator
from monai_retina_gen.weights import save_training_state

CHANNELS = [4, 4, 4, 4, 4]


@pytest.fixture(scope="module")
def voted(phantom_list: Path) -> Datalist:
    """Phantoms with selection rates 0.5, 0.6 ... 1.0 in turn."""
    datalist = load_datalist(phantom_list)
    for i, item in enumerate(datalist["training"]):
        item["selection_rate"] = (5 + i % 6) / 10
    return datalist


@pytest.fixture(scope="module")
def images(voted: Datalist) -> ImageSet:
    return photographs(voted["training"] + voted["validation"], 64)


@pytest.fixture(scope="module")
def generator() -> GANGenerator:
    torch.manual_seed(0)
    network = ResidualGenerator(image_size=64, channels=CHANNELS, latent_dim=8)
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(32, 8), torch.randint(5, (32,)))
    return GANGenerator(network, curated=False)


class CountingTrainer:
    """Returns an untrained generator and a critic that likes bright images; counts its calls."""

    def __init__(self, generator: GANGenerator, stops_after: int = 99) -> None:
        self.generator, self.left, self.seen = generator, stops_after, []

    def __call__(self, datalist: Path, folder: Path) -> Trained:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.seen.append(len(load_datalist(datalist)["training"]))
        return Trained(self.generator, lambda image, grade: image.mean((1, 2, 3)))


def _study(voted: Datalist, images: ImageSet, trainer: Any, out: Path, **options: Any) -> SelectionRateStudy:
    rows = {name: i for i, name in enumerate(images.names)}

    def load(items: Sequence[Any]) -> ImageSet:
        return images.select([rows[Path(item["image"]).name] for item in items])

    extractor = Extractor(nn.Flatten(), name="pixels", sha256="", input_size=4)
    defaults: dict[str, Any] = {"thresholds": [0, 0.7], "samples": 20, "top": 6, "extractor": extractor}
    settings = {"bundle": "fake", "configs": {}, "overrides": {}}
    return SelectionRateStudy(
        datalist=voted, trainer=trainer, load=load, settings=settings, output_dir=out, **{**defaults, **options}
    )


@pytest.fixture(scope="module")
def finished(voted: Datalist, images: ImageSet, generator: GANGenerator, tmp_path_factory: Any) -> dict[str, Any]:
    folder, trainer = tmp_path_factory.mktemp("rates"), CountingTrainer(generator)
    return {"result": _study(voted, images, trainer, folder).run(), "folder": folder, "trainer": trainer}


def test_each_threshold_trains_on_what_the_filter_keeps(finished: dict[str, Any], voted: Datalist) -> None:
    kept = [len(SelectionRateFilter(t)(voted["training"])) for t in (0, 0.7)]
    assert finished["trainer"].seen == kept == [20, 12]
    columns = finished["result"]["columns"]
    assert [c["n_training"] for c in columns] == kept
    assert [sum(c["photographs"].values()) for c in columns] == kept
    assert [c["n_validation"] for c in columns] == [12, 12]  # what judges is not cut


def test_rankings_and_figures_against_a_direct_count(
    finished: dict[str, Any], voted: Datalist, images: ImageSet, generator: GANGenerator
) -> None:
    column, extractor = finished["result"]["columns"][1], Extractor(nn.Flatten(), name="p", sha256="", input_size=4)
    kept = {Path(item["image"]).name for item in SelectionRateFilter(0.7)(voted["training"])}
    real = images.select([i for i, name in enumerate(images.names) if name in kept])
    grades = [sorted(real.grades)[i * len(real) // 20] for i in range(20)]
    samples = sampled_images(generator, grades)
    brightness = samples.floats().mean((1, 2, 3))
    names = [samples.names[i] for i in brightness.argsort(descending=True, stable=True).tolist()]
    assert column["rankings"]["top_critic"] == names[:6]
    assert column["rankings"]["bottom_critic"] == names[:-7:-1]
    features = [x.features(extractor) for x in (real, samples)]
    realism = realism_score(*features).argsort(descending=True, stable=True).tolist()
    assert column["rankings"]["top_realism"] == [samples.names[i] for i in realism[:6]]
    best = evaluate_features(features[0], features[1][realism[:6]], extractor="p", extractor_sha256="")
    figure = column["figures"]["training"]["top_realism"]
    assert figure["fid"]["value"] == pytest.approx(best["fid"].value, rel=1e-6)
    assert figure["kid"]["value"] == pytest.approx(best["kid"].value, rel=1e-6)
    assert figure["fid"]["n_generated"] == 6
    strip = read_image(finished["folder"] / "rate_0.7" / "top_critic.png")
    expected = samples.floats([samples.names.index(names[0])])[0]
    assert (strip[:, :, :64] - expected).abs().max() <= 1.01 / 255


def test_tables_have_the_papers_form(finished: dict[str, Any]) -> None:
    text = (finished["folder"] / "selection_rate.md").read_text()
    assert text.count("| All (SR 0) | SR 70 |") == 5  # counts, and FID and KID against two sets
    for row in ("All", "Top 6 by critic", "Bottom 6 by critic", "Top 6 by realism", "Bottom 6 by realism"):
        assert text.count(f"| {row} |") == 4
    assert "say almost nothing" in text
    assert "`pixels` (48 numbers" in text
    result = json.loads((finished["folder"] / "selection_rate.json").read_text())
    assert result == json.loads(json.dumps(finished["result"]))
    assert tuple(read_image(finished["folder"] / "sheet.png").shape) == (3, 8 * 96, 150 + 6 * 96)


def test_stopped_it_goes_on_where_it_was(
    finished: dict[str, Any], voted: Datalist, images: ImageSet, generator: GANGenerator, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _study(voted, images, CountingTrainer(generator, stops_after=1), tmp_path).run()
    trainer = CountingTrainer(generator)
    result = _study(voted, images, trainer, tmp_path).run()
    assert trainer.seen == [12]
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(finished["result"]))
    assert (tmp_path / "selection_rate.md").read_bytes() == (finished["folder"] / "selection_rate.md").read_bytes()
    with pytest.raises(ValueError, match=r"other settings \(seed: 0 there"):
        _study(voted, images, trainer, tmp_path, seed=1)


def test_critic_sees_grades_and_company_averages_out() -> None:
    pixels = torch.randint(256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    shown = ImageSet(pixels, list(range(5)) * 2 + [0, 1], [str(i) for i in range(12)], [""] * 12)
    found = critic_scores(lambda image, grade: image[:, 0, 0, 0] + 10 * grade, shown, conditional=True)
    expected = shown.floats()[:, 0, 0, 0] * 2 - 1 + 10 * torch.tensor(shown.grades)
    torch.testing.assert_close(found, expected.double(), atol=1e-5, rtol=0)

    def by_company(image: Tensor, grade: Tensor | None) -> Tensor:
        assert grade is None
        return image[:, 0, 0, 0] + image.mean()

    spread = critic_scores(by_company, shown, conditional=False, batch_size=4) - shown.floats()[:, 0, 0, 0] * 2 + 1
    assert spread.std() < 0.05
    assert groups_of({"a": found}, 3)["top_a"] == found.argsort(descending=True)[:3].tolist()
    assert groups_of({"a": torch.tensor([0.1, 0.9, 0.5])}, 1) == {"all": [0, 1, 2], "top_a": [1], "bottom_a": [0]}


def test_without_grades_all_are_one_class(
    voted: Datalist, images: ImageSet, generator: GANGenerator, tmp_path: Path
) -> None:
    plain = copy.deepcopy(voted)
    for section in ("training", "validation", "test"):
        for item in plain[section]:
            del item["grade"]
    study = _study({**plain, "validation": []}, images, CountingTrainer(generator), tmp_path, thresholds=[0.5])
    result = study.run()
    assert result["classes"] == ["all"]
    assert result["columns"][0]["photographs"]["0"] == 20
    assert "fewer than 6" in result["columns"][0]["figures"]["validation"]["skipped"]
    assert "| All | - |" in (tmp_path / "selection_rate.md").read_text()


def test_errors_come_before_any_training(
    voted: Datalist, images: ImageSet, generator: GANGenerator, tmp_path: Path
) -> None:
    trainer = CountingTrainer(generator)
    with pytest.raises(DatalistError, match=r"threshold 1 leaves 3 .* highest selection rate is 1"):
        _study(voted, images, trainer, tmp_path, thresholds=[0, 1.0])
    with pytest.raises(ValueError, match="threshold=60"):
        _study(voted, images, trainer, tmp_path, thresholds=[60])
    with pytest.raises(ValueError, match="top=11 of samples=20"):
        _study(voted, images, trainer, tmp_path, top=11)
    bare = {**voted, "training": voted["validation"]}
    with pytest.raises(DatalistError, match="no selection_rate"):
        _study(bare, images, trainer, tmp_path)
    assert trainer.seen == []


def test_bundle_training_resumes_and_gives_the_critic_of_the_last_step(
    bundles_dir: Path, voted: Datalist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"image_size": 64, "network_def#channels": CHANNELS, "discriminator_def#channels": CHANNELS}
    networks = {
        "ema": ResidualGenerator(image_size=64, channels=CHANNELS),
        "discriminator": ResidualCritic(image_size=64, channels=CHANNELS),
    }
    commands: list[list[str]] = []

    def trains(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        save_training_state(networks, tmp_path / "training" / "training_state.pt")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(selection_rate_training.subprocess, "run", trains)
    trainer = BundleTrainer(bundles_dir / "retina_wgan_gp", overrides={"max_epochs": 3, **size})
    (tmp_path / "training").mkdir()
    torch.save({}, tmp_path / "training" / "state_epoch=1.pt")
    for _ in range(2):  # the second time it is done
        trained = trainer(tmp_path / "datalist.json", tmp_path / "training")
    assert len(commands) == 1
    words = dict(zip(commands[0][4::2], commands[0][5::2], strict=True))
    assert words["--max_epochs"] == "3"
    assert words["--resume"] == "true"
    assert words["--dataset_dir"] == str(tmp_path)
    assert json.loads(words["--network_def#channels"]) == CHANNELS
    image, grade = torch.rand(2, 3, 64, 64), torch.tensor([1, 4])
    torch.testing.assert_close(
        trained.critic(image, grade), networks["discriminator"].eval()(image, grade), atol=1e-2, rtol=1e-2
    )
    sample = trained.generator.sample([0, 4], seeds=[1, 2]).image
    expected = GANGenerator(networks["ema"]).sample([0, 4], seeds=[1, 2]).image
    assert (sample - expected).abs().max() < 0.05  # half precision
    read = trainer.load_photographs(voted["test"])
    assert torch.equal(read.images, photographs(voted["test"], 64).images)
    failing = BundleTrainer(bundles_dir / "retina_wgan_gp", preset="kim2021", overrides=size)
    monkeypatch.setattr(selection_rate_training.subprocess, "run", lambda c, check: subprocess.CompletedProcess(c, 1))
    with pytest.raises(RuntimeError, match="failed"):
        failing(tmp_path / "datalist.json", tmp_path / "other")
    assert failing.settings()["configs"].keys() == {"train.json", "kim2021.json"}


def test_overrides_and_presets_that_are_none(bundles_dir: Path) -> None:
    assert parse_overrides(["a=[1, 2]", "b#c=x=y"]) == {"a": [1, 2], "b#c": "x=y"}
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_overrides(["batch_size"])
    with pytest.raises(WeightsError, match=r"no .*absent\.json"):
        BundleTrainer(bundles_dir / "retina_wgan_gp", preset="absent")


@pytest.mark.slow
def test_command_trains_the_bundle(
    bundles_dir: Path, voted: Datalist, grader_bundle: Path, tmp_path: Path, capsys: Any
) -> None:
    save_datalist(voted, tmp_path / "my.json")
    words = [
        "model",
        "selection-rate",
        "--datalist",
        str(tmp_path / "my.json"),
        "--bundle",
        str(bundles_dir / "retina_wgan_gp"),
    ]
    words += ["--thresholds", "0.7", "--out", str(tmp_path / "rates"), "--max-epochs", "1", "--image-size", "64"]
    words += ["--samples", "12", "--top", "6", "--extractor", str(grader_bundle), "--override", "batch_size=4"]
    words += [f"network_def#channels={CHANNELS}", f"discriminator_def#channels={CHANNELS}"]
    words += [f"extractor={grader_bundle}", "val_interval=1", "n_critic=1"]
    assert main(words) == 0
    assert "| Top 6 by critic |" in capsys.readouterr().out
    assert (tmp_path / "rates" / "rate_0.7" / "training" / "model.pt").is_file()
