"""The painter's error in holes: what counts, how much, and where gradients go."""

from __future__ import annotations

import pytest
import torch

from monai_retina_gen.losses import HingeLoss, HoleError


def test_only_holes_count_and_lesions_count_more() -> None:
    canvas = torch.zeros(1, 10, 8, 8)
    canvas[:, 4, :2] = 1  # 16 pixels of hole
    canvas[:, 7, 0] = 1  # 8 of them haemorrhage
    canvas[:, 6, 7] = 1  # a lesion outside of the hole
    fake, real = torch.zeros(1, 3, 8, 8, requires_grad=True), torch.zeros(1, 3, 8, 8)
    real[:, :, 0], real[:, :, 1], real[:, :, 5:] = 0.5, 0.1, 9.0
    loss = HoleError(weight=2.0, lesion_weights=(0.0, 3.0, 0.0, 0.0)).distance(fake, real, canvas)
    assert float(loss.detach()) == pytest.approx(2 * (8 * 4 * 0.5 + 8 * 0.1) / (8 * 4 + 8))
    (gradient,) = torch.autograd.grad(loss, fake)
    assert gradient[:, :, 2:].abs().max() == 0


def test_no_hole_is_no_error() -> None:
    found = HoleError().distance(torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 10, 4, 4))
    assert float(found) == 0


def test_hinge_weight() -> None:
    scores = torch.tensor([0.5, -2.0])
    assert float(HingeLoss(generator_weight=0.25).generator(scores)) == pytest.approx(0.25 * 0.75)
    with pytest.raises(ValueError, match="generator_weight"):
        HingeLoss(generator_weight=-1)
