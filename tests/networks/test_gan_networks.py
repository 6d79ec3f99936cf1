"""The networks of the two Wasserstein systems: shapes, published sizes, conditions, curated latents."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import pytest
import torch
from torch.nn.functional import interpolate
from torch.nn.utils import parameters_to_vector

from monai_retina_gen.networks import (
    CuratedLatents,
    DeconvolutionGenerator,
    ResidualCritic,
    ResidualGenerator,
    StridedCritic,
    draw_latents,
    latents_from_seeds,
)
from monai_retina_gen.weights import start_networks

SMALL = (8, 8, 8, 8, 8)


def _size(network: torch.nn.Module) -> int:
    return parameters_to_vector(network.parameters()).numel()


def test_the_papers_width_has_the_papers_layers() -> None:
    """Linear 100 to 4x4x1024 and four 5x5 convolutions: counted by hand, without the paper's unknown normalisation."""
    generator = DeconvolutionGenerator(width=128)
    weights = 100 * 4 * 4 * 1024 + 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3) + 3
    norms = 2 * (1024 + 512 + 256 + 128)
    assert _size(generator) == weights + norms
    assert [type(m).__name__ for m in generator.layers].count("ConvTranspose2d") == 4
    critic = StridedCritic(width=128)
    assert [type(m).__name__ for m in critic.layers].count("Conv2d") == 4
    assert critic.score.in_features == 4 * 4 * 1024


@pytest.mark.parametrize("size", [64, 128])
def test_images_have_size_and_range(size: int) -> None:
    image = DeconvolutionGenerator(image_size=size, width=2)(torch.rand(2, 100))
    assert image.shape == (2, 3, size, size)
    assert image.abs().max() <= 1
    assert StridedCritic(image_size=size, width=2)(image).shape == (2,)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_residual_networks_have_defaults_for_published_sizes(size: int) -> None:
    with torch.no_grad():
        image = ResidualGenerator(image_size=size)(torch.randn(2, 128), torch.tensor([0, 4]))
        assert image.shape == (2, 3, size, size)
        assert ResidualCritic(image_size=size)(image, torch.tensor([0, 4])).shape == (2,)


def test_a_grown_network_first_makes_the_images_of_the_smaller_one_enlarged() -> None:
    torch.manual_seed(0)
    small, grown = (ResidualGenerator(image_size=size).eval() for size in (64, 128))
    networks = {"generator": grown, "ema": grown}
    with TemporaryDirectory() as folder:
        torch.save(small.state_dict(), f"{folder}/model.pt")
        start_networks(networks, init_weights=f"{folder}/model.pt", partial=True)
    latent, grade = torch.randn(4, 128), torch.tensor([0, 1, 3, 4])
    with torch.no_grad():
        wanted, came = interpolate(small(latent, grade), scale_factor=2, mode="bilinear"), grown(latent, grade)
    assert torch.corrcoef(torch.stack([wanted.flatten(), came.flatten()]))[0, 1] > 0.97


def test_grade_changes_image_and_score_and_none_is_unknown() -> None:
    torch.manual_seed(0)
    generator = ResidualGenerator(image_size=64, channels=SMALL).eval()
    critic = ResidualCritic(image_size=64, channels=SMALL)
    for table in (generator.blocks[0].norm1.film, critic.embedding):
        torch.nn.init.normal_(table.weight)
    latent = torch.randn(1, 128)
    images = [generator(latent, grade) for grade in (torch.tensor([0]), torch.tensor([3]), torch.tensor([5]), None)]
    assert not torch.allclose(images[0], images[1], atol=1e-3)
    assert torch.equal(images[2], images[3])
    scores = [critic(images[0], grade) for grade in (torch.tensor([0]), torch.tensor([5]), None)]
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(scores[1], scores[2])


def test_without_classes_the_grade_is_ignored_and_there_is_a_table() -> None:
    generator = ResidualGenerator(image_size=64, num_classes=0, channels=SMALL).eval()
    latent = torch.randn(2, 128)
    assert torch.equal(generator(latent), generator(latent, torch.tensor([1, 4])))
    assert not generator.conditional
    generator.set_curated([torch.ones(1, 128)] * 5)
    assert ResidualGenerator(image_size=64, channels=SMALL).curated_latents.numel() == 0


def test_critic_scores_of_one_image_do_not_depend_on_its_place() -> None:
    """Layer normalisation and a deviation over the batch: the order of images is of no account."""
    torch.manual_seed(0)
    critic, images = ResidualCritic(image_size=64, channels=SMALL), torch.randn(4, 3, 64, 64)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(critic(images)[order], critic(images[order]), atol=1e-5, rtol=1e-5)


def test_curated_latents_travel_with_the_weights() -> None:
    first, second = DeconvolutionGenerator(width=2), DeconvolutionGenerator(width=2)
    first.set_curated([torch.full((n, 100), float(n)) for n in range(5)])
    second.load_state_dict(first.state_dict())
    assert second.curated_counts.tolist() == [0, 1, 2, 3, 4]
    assert (second.curated_latents[3, :3] == 3).all()
    assert (second.curated_latents[3, 3:] == 0).all()
    with pytest.raises(ValueError, match="at most 100"):
        first.set_curated([torch.zeros(101, 100)] * 5)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="power of two"):
        DeconvolutionGenerator(image_size=100)
    with pytest.raises(ValueError, match="choose one of"):
        DeconvolutionGenerator(latent_distribution="cauchy")
    with pytest.raises(ValueError, match="no default channels"):
        ResidualGenerator(image_size=100)
    with pytest.raises(ValueError, match="make images of 64 px, not 128"):
        ResidualCritic(image_size=128, channels=SMALL)
    with pytest.raises(ValueError, match="unknown"):
        draw_latents(1, 2, distribution="x", generator=torch.Generator())
    assert CuratedLatents(latent_dim=2).curated_counts.sum() == 0


def test_uniform_latents_fill_their_interval() -> None:
    drawn = draw_latents(4000, 2, distribution="uniform", generator=torch.Generator().manual_seed(0))
    assert drawn.min() < -0.99
    assert drawn.max() > 0.99
    assert drawn.var().item() == pytest.approx(1 / 3, abs=0.02)


def test_a_latent_depends_on_its_seed_alone() -> None:
    together = latents_from_seeds([7, 3, 7], 2, 5)
    assert together.shape == (3, 2, 5)
    assert torch.equal(together[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(together[1:2], latents_from_seeds([3], 2, 5))
    torch.manual_seed(7)
    assert torch.equal(together[0].flatten(), torch.randn(10))
    assert (
        latents_from_seeds([7], 64, distribution="uniform").abs().max() <= 1 < latents_from_seeds([7], 64).abs().max()
    )
    assert latents_from_seeds([], 4).shape == (0, 4)
