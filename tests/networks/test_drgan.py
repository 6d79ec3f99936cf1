"""DR-GAN's generator and discriminators: sizes, switches, seeds, AdaIN, stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from monai_retina_gen.data import CONDITION_KEYS
from monai_retina_gen.networks import DRGAN, GradingSpace, MultiScaleDiscriminator
from monai_retina_gen.networks.drgan import _AdaptiveNorm, resized_masks, up_layer

TINY: dict[str, Any] = {"base_width": 4, "residual_blocks": 1, "grading_dimension": 6, "grading_rank": 2}


def fitted(**options: Any) -> DRGAN:
    """A tiny network with a grading space whose grades lie apart."""
    torch.manual_seed(0)
    network = DRGAN(**(TINY | {"mapping_width": 16} | options))
    if network.mapping is not None:
        grades = torch.arange(50) % 5
        space = GradingSpace(dimension=6, rank=2)
        space.fit(3 * grades[:, None] + torch.randn(50, 6), grades)
        network.set_grading_space(space.state_dict())
        for block in network.coarse.blocks:
            nn.init.normal_(block.norm.affine.weight)
    return network.eval()


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(2, 4), columns=st.integers(2, 4), stages=st.sampled_from([1, 2]))
def test_any_size_that_is_a_multiple_of_the_stride(rows: int, columns: int, stages: int) -> None:
    network = DRGAN(stages=stages, **TINY).eval()
    height, width = network.stride * rows, network.stride * columns
    image = network(torch.rand(1, 9, height, width), torch.tensor([2]))
    assert image.shape == (1, 3, height, width)
    assert image.abs().max() <= 1


def test_widths_of_the_paper() -> None:
    """80 x 80 x 512, 160 x 160 x 256 and 320 x 320 x 128 at 640 px; 40 x 40 x 512 in the residual blocks."""
    with torch.device("meta"):
        network = DRGAN(base_width=64)
        encoded = network.coarse.encode(torch.empty(1, 9, 640, 640))
    assert [tuple(x.shape[1:]) for x in encoded][-1] == (512, 40, 40)
    assert [block.merge.out_channels for block in network.coarse.blocks] == [512, 256, 128, 64]
    assert network.noise_shapes((640, 640)) == [(128, 80, 80), (64, 160, 160), (32, 320, 320), (16, 640, 640)]
    encoder: Any = network.coarse.encoder
    kernels = [layer[0].kernel_size[0] for layer in encoder]
    assert kernels == [7, 3, 3, 3]
    assert len(network.coarse.residual) == 7


def test_an_image_depends_on_its_seed_alone() -> None:
    network = fitted()
    condition, grade = torch.rand(3, 9, 32, 32), torch.tensor([1, 2, 3])
    latent, noise = network.draw([5, 6, 7], size=(32, 32))
    alone_latent, alone_noise = network.draw([6], size=(32, 32))
    together = network(condition, grade, latent, noise)
    alone = network(condition[1:2], grade[1:2], alone_latent, alone_noise)
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(network(condition, grade, *network.draw([8, 9, 10], size=(32, 32))), together, atol=1e-3)


def test_grading_vector_is_drawn_as_the_grading_space_draws() -> None:
    network = fitted()
    assert network.mapping is not None
    latent, _ = network.draw([3, 4], size=(16, 16))
    space = network.mapping.space
    torch.testing.assert_close(space.from_normal(latent, torch.tensor([0, 4])), space.sample([0, 4], seeds=[3, 4]))


def test_grade_changes_the_image_only_with_grading_vectors() -> None:
    condition = torch.rand(1, 9, 32, 32)
    for vectors in (True, False):
        network = fitted(grading_vectors=vectors)
        one, two = (network(condition, torch.tensor([grade])) for grade in (0, 4))
        assert torch.equal(one, two) != vectors


def test_unknown_grade_is_the_predicted_one() -> None:
    network = fitted()
    condition = torch.rand(4, 9, 32, 32)
    predicted = network.predict_grade(condition).argmax(1)
    assert torch.equal(network(condition), network(condition, predicted))


def test_adaptive_norm_is_equation_two() -> None:
    torch.manual_seed(1)
    norm, x, embedding = _AdaptiveNorm(3, 4), torch.randn(2, 3, 5, 5, dtype=torch.float64), torch.randn(2, 4)
    norm, embedding = norm.double(), embedding.double()
    assert norm.affine is not None
    nn.init.normal_(norm.affine.weight)
    gamma, beta = (norm.bias + norm.affine(embedding)).chunk(2, dim=1)
    mean = x.mean((2, 3), keepdim=True)
    deviation = (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    expected = gamma[..., None, None] * (x - mean) / deviation + beta[..., None, None]
    torch.testing.assert_close(norm(x, embedding), expected)


@pytest.mark.parametrize(
    ("options", "absent"),
    [({"grading_vectors": False}, "mapping"), ({"attention": False}, "attention"), ({"stages": 1}, "fine")],
)
def test_switches_leave_parts_out(options: dict[str, Any], absent: str) -> None:
    assert not [name for name in DRGAN(**TINY, **options).state_dict() if absent in name.replace("affine", "")]
    assert [name for name in DRGAN(**(TINY | {"stages": 2})).state_dict() if absent in name.replace("affine", "")]


def test_masks_that_are_not_read_have_no_influence() -> None:
    network = fitted(condition_keys=["vessel", "od", "fov"])
    condition = torch.rand(1, 9, 32, 32)
    other = condition.clone()
    other[:, 3:] = torch.rand(1, 6, 32, 32)
    grade = torch.tensor([1])
    assert torch.equal(network(condition, grade), network(other, grade))
    other[:, 0] = torch.rand(1, 32, 32)
    assert not torch.equal(network(condition, grade), network(other, grade))


@pytest.mark.parametrize("key", CONDITION_KEYS)
def test_every_mask_has_influence(key: str) -> None:
    network = fitted()
    condition, grade = torch.zeros(1, 9, 32, 32), torch.tensor([1])
    other = condition.clone()
    other[:, CONDITION_KEYS.index(key), 8:12, 8:12] = 1
    assert (network(condition, grade) - network(other, grade)).abs().max() > 1e-4


def test_one_stage_of_two_is_the_coarse_network_at_half_the_size() -> None:
    network = fitted(stages=2)
    network.active_stages = 1
    alone = fitted(stages=1)
    alone.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("fine")})
    condition, grade = torch.rand(1, 9, 32, 32), torch.tensor([3])
    assert torch.equal(network(condition, grade), alone(condition, grade))


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_all_parameters_learn(norm: str, upsampling: str) -> None:
    network = DRGAN(**TINY, stages=2, norm=norm, upsampling=upsampling).train()
    condition = torch.rand(2, 9, 64, 64)
    latent, noise = network.draw([0, 1], size=(64, 64))
    image = network(condition, torch.tensor([0, 4]), latent, noise)
    (image.square().mean() + network.predict_grade(condition).square().mean()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert idle == ["coarse.to_rgb.weight", "coarse.to_rgb.bias"]  # the second stage draws the image


def test_checkpointing_changes_nothing() -> None:
    torch.manual_seed(0)
    plain, saving = DRGAN(**TINY), DRGAN(**TINY, checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    condition, grade = torch.rand(1, 9, 32, 32), torch.tensor([2])
    latent, noise = plain.draw([4], size=(32, 32))
    for network in (plain, saving):
        network(condition, grade, latent, noise).mean().backward()
    for one, two in zip(plain.parameters(), saving.parameters(), strict=True):
        if one.grad is not None and two.grad is not None:
            torch.testing.assert_close(one.grad, two.grad)


def test_a_small_lesion_fades_but_does_not_vanish() -> None:
    mask = torch.zeros(1, 9, 32, 32)
    mask[0, 3, 5, 5] = 1
    assert resized_masks(mask, 4, 4).sum() == pytest.approx(1 / 64)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stages": 3}, "stages"),
        ({"condition_keys": ["drusen"]}, "drusen"),
        ({"norm": "layer"}, "layer"),
        ({"upsampling": "nearest"}, "nearest"),
    ],
)
def test_refuses_options(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        DRGAN(**TINY, **options)


@pytest.mark.parametrize("shape", [(1, 8, 32, 32), (1, 9, 40, 32), (1, 9, 16, 32), (9, 32, 32)])
def test_refuses_conditions(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="condition"):
        DRGAN(**TINY)(torch.zeros(shape))


@pytest.mark.parametrize("head", ["pooled", "patch"])
def test_discriminators_see_three_scales(head: str) -> None:
    network = MultiScaleDiscriminator(base_width=4, head=head)
    image, condition = torch.randn(2, 3, 64, 64), torch.rand(2, 9, 64, 64)
    found = network(image, condition)
    assert [x[0].shape[-1] for x in found["features"]] == [32, 16, 8]
    assert [len(layers) for layers in found["features"]] == [4, 4, 4]
    scores = [tuple(score.shape) for score in found["score"]]
    assert scores == ([(2,)] * 3 if head == "pooled" else [(2, 4, 4), (2, 2, 2), (2, 1, 1)])
    # the second discriminator is a first one on images of half the size
    half = network.discriminators[1](nn.functional.avg_pool2d(torch.cat([image, condition], 1), 2))
    torch.testing.assert_close(half[0], found["score"][1])


def test_discriminators_look_at_the_condition() -> None:
    network = MultiScaleDiscriminator(base_width=4)
    image = torch.randn(1, 3, 64, 64)
    one, two = (
        network(image, condition)["score"][0] for condition in (torch.zeros(1, 9, 64, 64), torch.ones(1, 9, 64, 64))
    )
    assert not torch.equal(one, two)


@pytest.mark.parametrize("options", [{"head": "mean"}, {"scales": 0}, {"condition_keys": ["x"]}])
def test_discriminator_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        MultiScaleDiscriminator(base_width=4, **options)


def test_discriminator_refuses_small_images() -> None:
    with pytest.raises(ValueError, match="64 pixels"):
        MultiScaleDiscriminator(base_width=4)(torch.zeros(1, 3, 32, 32), torch.zeros(1, 9, 32, 32))


def test_enlarging_by_interpolation_leaves_no_checkerboard() -> None:
    """A constant map stays constant; transposed convolutions cover places unevenly (Odena et al. 2016)."""
    torch.manual_seed(0)
    flat = torch.ones(1, 4, 8, 8)
    inside = {name: up_layer(name, 4, 4)(flat)[..., 4:-4, 4:-4] for name in ("resize", "transposed")}
    assert inside["resize"].std((2, 3)).max() < 1e-6
    assert inside["transposed"].std((2, 3)).min() > 1e-2
