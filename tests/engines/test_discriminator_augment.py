"""The discriminator's augmentation: each operation against an independent way, gradients, switches."""

from __future__ import annotations

import colorsys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.engines import AUGMENTATION_PRESETS, DiscriminatorAugment
from monai_retina_gen.engines.discriminator_augment import _about, _rotation, _sample, _scaling, _translation

ONE = torch.ones(1)


def _image(size: int = 8) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_flips_turns_and_whole_shifts_are_exact() -> None:
    image = _image()
    torch.testing.assert_close(_sample(image, _scaling(-ONE, ONE)[:, :2]), image.flip(-1))
    turned = _sample(image, _rotation(ONE * torch.pi / 2)[:, :2])
    assert any(torch.allclose(turned, image.rot90(k, (2, 3)), atol=1e-4) for k in (1, 3))
    moved = _sample(image, _translation(ONE * 2 / 8, ONE * 0)[:, :2])  # one pixel of eight
    torch.testing.assert_close(moved[..., :-1], image[..., 1:])
    assert (moved[..., -1] == -1).all()  # black comes in


def test_sampling_equals_grid_sample() -> None:
    image, matrix = _image(16), (_rotation(ONE * 0.3) @ _scaling(ONE * 1.2, ONE * 0.8))[:, :2]
    grid = torch.nn.functional.affine_grid(matrix, [1, 3, 16, 16], align_corners=False)
    expected = torch.nn.functional.grid_sample(image + 1, grid, align_corners=False) - 1
    torch.testing.assert_close(_sample(image, matrix), expected, atol=1e-5, rtol=1e-5)


def test_sampling_is_differentiable_twice() -> None:
    matrix = (_rotation(ONE.double() * 0.4) @ _scaling(ONE.double() * 1.1, ONE.double()))[:, :2]
    image = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: _sample(x, matrix) ** 2, image)
    assert torch.autograd.gradgradcheck(lambda x: _sample(x, matrix) ** 2, image)


def test_hue_turns_colours_about_grey() -> None:
    """A third of a turn about the grey axis exchanges the channels in a ring, as a hue of 120 degrees does."""
    axis = torch.full((3,), 3**-0.5)
    matrix = _about(axis, torch.tensor([2 * torch.pi / 3]))[0]
    colour = torch.tensor([0.9, 0.4, 0.1])
    turned = matrix @ colour
    hue, saturation, value = colorsys.rgb_to_hsv(*colour.tolist())
    expected = torch.tensor(colorsys.hsv_to_rgb((hue + 1 / 3) % 1, saturation, value))
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("operation", AUGMENTATION_PRESETS["all"])
def test_each_operation_changes_images_and_can_be_switched_off(operation: str) -> None:
    torch.manual_seed(0)
    images = _image(16).expand(8, -1, -1, -1)
    assert not torch.allclose(DiscriminatorAugment(operations=[operation], p=1.0)(images), images, atol=1e-3)
    torch.testing.assert_close(DiscriminatorAugment(operations=[operation], p=0.0)(images), images)


def test_the_preset_for_fundus_photographs_keeps_all_colours() -> None:
    """An image of one colour, moved: every pixel has that colour or is a mixture of it with black."""
    colour = torch.tensor([0.6, -0.1, -0.7])[None, :, None, None]
    out = DiscriminatorAugment(operations="fundus", p=1.0)(colour.expand(16, 3, 16, 16))
    share = (out[:, 0] + 1) / (colour[0, 0, 0, 0] + 1)
    torch.testing.assert_close(out, (colour + 1) * share[:, None] - 1, atol=1e-5, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(p=st.floats(0.2, 0.8), seed=st.integers(0, 1000))
def test_operations_apply_with_probability_p(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    images = _image(4).expand(600, -1, -1, -1)
    out = DiscriminatorAugment(operations=["brightness"], p=p)(images)
    changed = (out - images).abs().amax(dim=(1, 2, 3)).gt(1e-6).float().mean().item()
    assert changed == pytest.approx(p, abs=0.08)


def test_gradients_reach_the_images() -> None:
    images = _image(16).requires_grad_()
    DiscriminatorAugment(operations="all", p=0.9)(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="no preset"):
        DiscriminatorAugment(operations="colourful")
    with pytest.raises(ValueError, match="cutout"):
        DiscriminatorAugment(operations=["cutout"])
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\]"):
        DiscriminatorAugment(p=1.5)
