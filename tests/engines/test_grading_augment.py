"""Classic augmentation of a batch, against MONAI's resampling and closed forms."""

from __future__ import annotations

import pytest
import torch
from monai.networks.layers import AffineTransform

from monai_retina_gen.engines import GradingAugment, PrepareGradingBatch


def spot(side: int = 33) -> torch.Tensor:
    """A blob at the right, off the axes."""
    y, x = torch.meshgrid(torch.arange(side) - 10.0, torch.arange(side) - 24.0, indexing="ij")
    return torch.exp(-(x**2 + y**2) / 8).expand(1, 3, side, side).contiguous()


def test_every_image_has_its_own_draw_and_a_seed_repeats_it() -> None:
    image = spot().expand(6, -1, -1, -1)
    torch.manual_seed(0)
    first = GradingAugment()(image)
    assert torch.cdist(first.flatten(1), first.flatten(1)).triu(1).gt(0).sum() == 15
    torch.manual_seed(0)
    assert torch.equal(GradingAugment()(image), first)
    assert first.min() >= 0
    assert first.max() <= 1


def test_without_ranges_only_flips_are_left() -> None:
    image = spot().expand(16, -1, -1, -1)
    torch.manual_seed(1)
    found = GradingAugment(rotate=0, scale=0, shift=0, colour=0)(image)
    flips = [image[0], image[0].flip(-1), image[0].flip(-2), image[0].flip(-1, -2)]
    which = [[i for i, flip in enumerate(flips) if torch.allclose(one, flip, atol=1e-5)] for one in found]
    assert {w for (w,) in which} == {0, 1, 2, 3}


def test_movement_agrees_with_monais_resampling() -> None:
    augment = GradingAugment(rotate=40, scale=0.2, shift=0.1, colour=0)
    torch.manual_seed(3)
    found = augment(spot())
    torch.manual_seed(3)
    flip = (torch.randint(0, 2, (2, 1)) * 2.0 - 1)[:, 0]
    draw = (torch.rand(7, 1) * 2 - 1)[:, 0]
    angle, zoom = torch.deg2rad(40 * draw[0]), 1.2 ** float(draw[1])
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]]) * zoom @ torch.diag(flip)
    theta = torch.eye(3)
    # MONAI's order of axes is (down, across), in units of half an image
    theta[:2, :2], theta[:2, 2] = turn.flip(0, 1), 2 * 0.1 * draw[2:4].flip(0)
    expected = AffineTransform(normalized=True, align_corners=False, padding_mode="zeros")(spot(), theta[None])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_colour_keeps_black_and_changes_all_three_properties() -> None:
    augment, image = GradingAugment(rotate=0, scale=0, shift=0, colour=0.3), torch.rand(8, 3, 9, 9)
    image[..., :4, :] = image[..., -4:, :] = 0
    out = augment(image)
    assert out[..., :4, :].max() < 1e-4
    assert not torch.allclose(out[..., 4, :], image[..., 4, :], atol=0.02)
    grey = torch.full((4, 3, 5, 5), 0.5)
    assert augment(grey).std(1).max() < 1e-6  # a grey image has no saturation to change


def test_ranges_are_checked() -> None:
    for words in ({"rotate": 200}, {"scale": -0.1}, {"colour": 1.0}, {"shift": float("nan")}):
        with pytest.raises(ValueError, match="want degrees"):
            GradingAugment(**words)


def test_the_batch_is_augmented_on_its_way() -> None:
    batch = {"image": torch.rand(2, 3, 8, 8), "grade": torch.tensor([1, 4])}
    image, grade = PrepareGradingBatch(augment=lambda x: 1 - x)(batch, "cpu")
    torch.testing.assert_close(image, 1 - batch["image"])
    assert grade.tolist() == [1, 4]
    assert torch.equal(PrepareGradingBatch()(batch, "cpu")[0], batch["image"])
