"""The interface over generators: loading, trust, determinism, records, handles."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.data import read_record
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError, UntrustedConfigError, WeightsError
from monai_retina_gen.generators import GeneratorHandle, VAEGenerator, load_generator, regenerate
from monai_retina_gen.networks import FundusVAE, PerGradeVAE


@pytest.fixture
def generator(vae_bundle: Path) -> VAEGenerator:
    loaded = load_generator(vae_bundle)
    assert isinstance(loaded, VAEGenerator)
    return loaded


def test_samples_depend_on_their_seed_alone(generator: VAEGenerator) -> None:
    together = generator.sample([0, 3, 3], seeds=[5, 6, 7])
    alone = generator.sample([3], seeds=[6])
    assert together.image.shape == (3, 3, 64, 64)
    assert together.image.min() >= 0
    assert together.image.max() <= 1
    torch.testing.assert_close(together.image[1], alone.image[0], atol=1 / 255, rtol=0)
    assert torch.equal(generator.sample([0, 3, 3], seeds=[5, 6, 7]).image, together.image)
    assert not torch.equal(together.image[1], together.image[2])


def test_records_make_the_image_again(generator: VAEGenerator, vae_bundle: Path) -> None:
    batch = generator.sample([4], seeds=[11], temperature=0.5)
    record = GenerationRecord.from_json(batch.records[0].to_json())
    assert (record.generator, record.grade, record.seed, record.version) == ("tiny_vae", 4, 11, "0.0.1")
    again = regenerate(record, bundle=vae_bundle)
    assert torch.equal(again.image, batch.image)
    other = GenerationRecord.from_json(record.to_json().replace(record.weights_sha256, "0" * 64))
    with pytest.raises(WeightsError, match="the record names"):
        regenerate(other, bundle=vae_bundle)


def test_reconstruct_and_encode(generator: VAEGenerator) -> None:
    images = torch.rand(2, 3, 64, 64)
    batch = generator.reconstruct(images, [1, 2], sources=["a", "b"])
    assert batch.image.shape == images.shape
    assert [r.source for r in batch.records] == ["a", "b"]
    assert generator.encode(images).shape == (2, 8)
    with pytest.raises(ImageValueError, match=r"reads \(B"):
        generator.reconstruct(torch.rand(2, 3, 32, 32), [1, 2])
    with pytest.raises(ImageValueError, match="finite"):
        generator.reconstruct(images * 255, [1, 2])


@pytest.mark.parametrize("grades", [[5], [-1], [1.5]])
def test_wrong_grades(generator: VAEGenerator, grades: list[float]) -> None:
    with pytest.raises(ValueError, match="grades"):
        generator.sample(grades, seeds=[0])  # type: ignore[arg-type]


def test_wrong_arguments(generator: VAEGenerator) -> None:
    with pytest.raises(ValueError, match="as many seeds"):
        generator.sample([1, 2], seeds=[0])
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        generator.sample([1], seeds=[0], truncation=0.5)
    with pytest.raises(UnsupportedModeError, match="has no mode 'edit'"):
        generator.edit(torch.zeros(1, 3, 64, 64), [2], lesion="ex")
    with pytest.raises(UnsupportedModeError, match="unknown mode"):
        generator.check_mode("dream")
    assert generator.sample([], seeds=[]).image.shape == (0, 3, 64, 64)


def test_temperature_zero_gives_the_mean(generator: VAEGenerator) -> None:
    images = generator.sample([2, 2], seeds=[1, 2], temperature=0.0).image
    torch.testing.assert_close(images[0], images[1])


def test_per_grade_networks_sample_too() -> None:
    generator = VAEGenerator(PerGradeVAE(image_size=64, num_classes=2, latent_dim=4, channels=(8, 8, 8, 8)))
    assert generator.sample([1, 0, 1], seeds=[1, 2, 3]).image.shape == (3, 3, 64, 64)


def _changed(bundle: Path, tmp_path: Path, change: dict[str, Any]) -> Path:
    copied = tmp_path / "changed"
    shutil.copytree(bundle, copied)
    path = copied / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config.update(change)
    path.write_text(json.dumps(config))
    return copied


@pytest.mark.parametrize(
    "change",
    [
        {"generator": "$__import__('os').system('touch owned')"},
        {"generator": {"_target_": "os.system", "command": "touch owned"}},
        {"generator": {"_target_": "monai.transforms.utility.array.torch.hub.load", "x": 1}},
        {"generator": {"_target_": "monai.transforms.utils.optional_import", "module": "evil"}},
        {"network_def": {"_target_": "monai_retina_gen.networks.FundusVAE", "image_size": "$1+1"}},
        {"network_def": "@elsewhere::0", "elsewhere": [{"_target_": "subprocess.run"}]},
        {"network_def": "@missing"},
        {"network_def": "%other.json#network"},
    ],
)
def test_unknown_code_is_refused(vae_bundle: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    bundle = _changed(vae_bundle, tmp_path, change)
    with pytest.raises(UntrustedConfigError):
        load_generator(bundle)


def test_trusted_code_runs(vae_bundle: Path, tmp_path: Path) -> None:
    network = {"_target_": "monai_retina_gen.networks.FundusVAE", "image_size": "$32 * 2", "latent_dim": 8}
    bundle = _changed(vae_bundle, tmp_path, {"network_def": {**network, "channels": [8, 8, 8, 8]}})
    assert load_generator(bundle, trust_code=True).image_size == 64


def test_code_elsewhere_in_the_configuration_does_not_matter(vae_bundle: Path, tmp_path: Path) -> None:
    bundle = _changed(vae_bundle, tmp_path, {"device": "$torch.device('cpu')"})
    assert load_generator(bundle).modes == {"sample", "reconstruct"}


def test_wrong_weights_are_refused(vae_bundle: Path, tmp_path: Path) -> None:
    network = {"_target_": "monai_retina_gen.networks.FundusVAE", "image_size": 64, "channels": [8, 8, 8, 16]}
    with pytest.raises(WeightsError, match="does not fit"):
        load_generator(_changed(vae_bundle, tmp_path, {"network_def": network}))


def test_a_bundle_without_generator_says_so(vae_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(vae_bundle, bundle)
    (bundle / "configs" / "inference.json").write_text("{}")
    with pytest.raises(WeightsError, match="no key `generator`"):
        load_generator(bundle)


def test_an_object_is_taken_as_it_is(generator: VAEGenerator) -> None:
    assert load_generator(generator) is generator


def test_handle_is_small_shared_and_lazy(vae_bundle: Path) -> None:
    handle = GeneratorHandle(vae_bundle)
    sent = pickle.dumps(handle)
    assert len(sent) < 1000
    assert copy.deepcopy(handle) is handle
    assert pickle.loads(sent).get() is handle.get()
    assert GeneratorHandle("no_such_bundle").source == "no_such_bundle"  # nothing is looked for before use


def test_record_reading() -> None:
    assert read_record("") is None
    with pytest.raises(ImageValueError, match="carries no record"):
        read_record(3)
    with pytest.raises(ValueError, match="not a generation record"):
        read_record("{}")
    with pytest.raises(ValueError, match="temperature: -1 came, one number from 0 is wanted"):
        VAEGenerator(FundusVAE(image_size=64, channels=(8, 8, 8, 8)), temperature=-1)
