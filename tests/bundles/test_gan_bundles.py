"""The two Wasserstein bundles: their presets after the papers, curation, use in a MONAI pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fresh_process import run_bundle
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose

from monai_retina_gen.data import load_datalist
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.generators import GANGenerator, load_critic, load_generator
from monai_retina_gen.networks import DeconvolutionGenerator, ResidualGenerator
from monai_retina_gen.transforms import CropToFieldOfViewd, GenerativeAugmentd, LoadFundusd
from monai_retina_gen.weights import load_weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset", "options", "network"),
    [
        ("retina_wgan", "cheng2021", ["--width", "8"], DeconvolutionGenerator(width=8)),
        ("retina_wgan_gp", "kim2021", [], ResidualGenerator(image_size=64, num_classes=0)),
        ("retina_wgan_gp", "projected", ["--batch_size", "8"], ResidualGenerator(image_size=64)),
    ],
)
def test_presets_train(
    name: str,
    preset: str,
    options: list[str],
    network: torch.nn.Module,
    tmp_path: Path,
    bundles_dir: Path,
    phantom_folder: Path,
) -> None:
    bundle = tmp_path / name
    shutil.copytree(bundles_dir / name, bundle, ignore=shutil.ignore_patterns("output", "models", "training"))
    arguments = ["--config_file", f"['configs/train.json','configs/{preset}.json']", "--max_epochs", "1"]
    arguments += ["--datalist", str(phantom_folder / "datalist.json"), "--dataset_dir", str(phantom_folder)]
    arguments += ["--image_size", "64", "--val_interval", "1", "--extractor", "pixels", "--device", "cpu"]
    run_bundle(bundle, *arguments, *options)
    load_weights(network, bundle / "output" / "model.pt")


def test_wgan_gp_augments_in_a_monai_loop(bundles_dir: Path, phantom_folder: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"]
    augment = GenerativeAugmentd(
        keys="image", label_key="grade", generator=bundles_dir / "retina_wgan_gp", mode="sample", prob=1.0
    )
    transforms = Compose([LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=64), augment])
    transforms.set_random_state(0)
    batches = list(DataLoader(CacheDataset(items, transforms, progress=False), batch_size=8))
    images = torch.cat([batch["image"] for batch in batches])
    assert images.shape == (24, 3, 64, 64)
    records = [GenerationRecord.from_json(record) for batch in batches for record in batch["image_generated"]]
    assert {record.generator for record in records} == {"retina_wgan_gp"}
    assert [record.grade for record in records] == [item["grade"] for item in items]
    assert torch.cat([batch["grade"] for batch in batches]).tolist() == [item["grade"] for item in items]


def test_wgan_samples_are_its_curated_latents(bundles_dir: Path) -> None:
    generator = load_generator(bundles_dir / "retina_wgan")
    assert isinstance(generator, GANGenerator)
    grade = int(generator.network.curated_counts.argmax())
    batch = generator.sample([grade], seeds=[3])
    expected = generator.images(generator.network.curated_latents[grade, 3:4])
    torch.testing.assert_close(batch.image, expected)


def test_training_can_go_on_with_the_critics(bundles_dir: Path) -> None:
    for name in ("retina_wgan", "retina_wgan_gp"):
        critic, generator = load_critic(bundles_dir / name), load_generator(bundles_dir / name)
        assert critic is not None
        assert isinstance(generator, GANGenerator)
        made = generator.images(generator.latents(range(8)), torch.arange(8) % 5) * 2 - 1
        scores = critic(made)
        assert scores.shape == (8,)
        assert scores.isfinite().all()
        assert scores.std() > 0
