"""Generators from adversarial networks: seeds, temperature, curation, records, critics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import UnsupportedModeError
from monai_retina_gen.generators import GANGenerator, load_critic, load_generator, regenerate
from monai_retina_gen.networks import DeconvolutionGenerator, ResidualCritic, ResidualGenerator
from monai_retina_gen.weights import CHECKPOINT, save_state, save_training_state, sha256_file

SMALL = (8, 8, 8, 8, 8)


@pytest.fixture
def conditional() -> GANGenerator:
    torch.manual_seed(0)
    network = ResidualGenerator(image_size=64, channels=SMALL, latent_dim=6)
    for block in network.blocks:
        torch.nn.init.normal_(block.norm1.film.weight)
    return GANGenerator(network, batch_size=2)


@pytest.fixture
def unconditional() -> GANGenerator:
    torch.manual_seed(0)
    return GANGenerator(DeconvolutionGenerator(width=2))


def test_samples_depend_on_seed_and_grade_alone(conditional: GANGenerator) -> None:
    batch = conditional.sample([0, 3, 3], seeds=[5, 6, 7])
    assert batch.image.shape == (3, 3, 64, 64)
    assert 0 <= batch.image.min() <= batch.image.max() <= 1
    torch.testing.assert_close(conditional.sample([3], seeds=[6]).image[0], batch.image[1], atol=1 / 255, rtol=0)
    assert not torch.allclose(conditional.sample([1], seeds=[6]).image[0], batch.image[1], atol=1e-3)
    assert torch.equal(conditional.latents([6])[0], conditional.latents([5, 6])[1])


def test_temperature_zero_gives_one_image_a_grade(conditional: GANGenerator) -> None:
    batch = conditional.sample([2, 2], seeds=[1, 2], temperature=0.0)
    torch.testing.assert_close(batch.image[0], batch.image[1])
    assert batch.records[0].options == {"temperature": 0.0}


def test_unconditional_networks_sample_through_curation(unconditional: GANGenerator) -> None:
    with pytest.raises(UnsupportedModeError, match=r"kept no image of grades \[0, 4\].*curate"):
        unconditional.sample([0, 4], seeds=[0, 1])
    kept = unconditional.latents(range(6))
    unconditional.network.set_curated([kept[:1], kept[1:3], kept[3:], kept[:0], kept[:0]])
    batch = unconditional.sample([0, 2, 2, 2, 2], seeds=[9, 3, 4, 5, 6])
    expected = unconditional.images(torch.stack([kept[0], kept[3], kept[4], kept[5], kept[3]]))
    torch.testing.assert_close(batch.image, expected)
    assert batch.records[0].options == {"curated": True}
    with pytest.raises(UnsupportedModeError, match=r"grades \[3\]"):
        unconditional.sample([2, 3], seeds=[0, 1])


def test_uncurated_samples_say_so(unconditional: GANGenerator) -> None:
    batch = unconditional.sample([4], seeds=[3], curated=False)
    torch.testing.assert_close(batch.image, unconditional.images(unconditional.latents([3])))
    assert batch.records[0].options["curated"] is False


def test_bad_arguments(conditional: GANGenerator) -> None:
    with pytest.raises(TypeError, match="truncation"):
        conditional.sample([1], seeds=[1], truncation=0.5)
    with pytest.raises(ValueError, match="as many seeds"):
        conditional.sample([1, 2], seeds=[1])
    with pytest.raises(ValueError, match=r"\[7\]"):
        conditional.sample([7], seeds=[1])
    with pytest.raises(ValueError, match="temperature"):
        GANGenerator(DeconvolutionGenerator(width=2), temperature=-1.0)


def _bundle(folder: Path) -> Path:
    network = {"_target_": "monai_retina_gen.networks.ResidualGenerator", "image_size": 64, "channels": list(SMALL)}
    critic = network | {"_target_": "monai_retina_gen.networks.ResidualCritic"}
    generator = {"_target_": "monai_retina_gen.generators.GANGenerator", "network": "@network_def"}
    bundle = folder / "tiny_gan"
    (bundle / "configs").mkdir(parents=True)
    save_state(ResidualGenerator(image_size=64, channels=SMALL).state_dict(), bundle / CHECKPOINT, half=True)
    configs = {
        "inference": {"network_def": network, "generator": generator},
        "train": {"discriminator_def": critic},
        "metadata": {"version": "0.0.1", "weights": {CHECKPOINT: {"sha256": sha256_file(bundle / CHECKPOINT)}}},
    }
    for name, config in configs.items():
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(config))
    return bundle


def test_bundles_load_and_records_make_the_image_again(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    batch = load_generator(bundle).sample([2], seeds=[8], temperature=0.7)
    again = regenerate(GenerationRecord.from_json(batch.records[0].to_json()), bundle=bundle)
    assert torch.equal(again.image, batch.image)


def test_the_critic_comes_from_the_training_state(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    assert load_critic(bundle) is None
    critic = ResidualCritic(image_size=64, channels=SMALL)
    save_training_state({"discriminator": critic}, bundle / "training" / "state.pt")
    loaded = load_critic(bundle)
    image = torch.rand(4, 3, 64, 64)
    assert loaded is not None
    torch.testing.assert_close(loaded(image), critic(image), atol=1e-2, rtol=1e-2)
