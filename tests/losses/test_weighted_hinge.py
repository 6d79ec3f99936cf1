"""Hinge loss of places that do not count alike."""

from __future__ import annotations

import pytest
import torch

from monai_retina_gen.losses import HingeLoss, WeightedHinge


def scores(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(2, side, side, generator=generator) for side in (8, 4)]


def test_equal_weights_are_the_mean_of_hinge_losses() -> None:
    real, fake = scores(0), scores(1)
    weight = [0.3 * torch.ones_like(x) for x in real]
    found, plain = WeightedHinge(generator_weight=0.5), HingeLoss(generator_weight=0.5)
    given = [{"score": each, "weight": weight} for each in (real, fake)]
    wanted = sum(plain.discriminator(r, f) for r, f in zip(real, fake, strict=True)) / 2
    torch.testing.assert_close(found.discriminator(*given), torch.as_tensor(wanted))
    torch.testing.assert_close(found.generator(given[1]), torch.stack([plain.generator(f) for f in fake]).mean())


def test_places_without_weight_teach_nothing() -> None:
    real = [x.requires_grad_() for x in scores(0)]
    weight = [torch.zeros_like(x) for x in real]
    for each in weight:
        each[:, 0] = 1
    loss = WeightedHinge().discriminator({"score": real, "weight": weight}, {"score": scores(1), "weight": weight})
    loss.backward()
    assert all(float(x.grad[:, 1:].abs().sum()) == 0 for x in real if x.grad is not None)
    nothing = {"score": real, "weight": [torch.zeros_like(x) for x in real]}
    assert float(WeightedHinge().discriminator(nothing, nothing).detach()) == 0


def test_a_negative_factor_is_refused() -> None:
    with pytest.raises(ValueError, match="generator_weight"):
        WeightedHinge(generator_weight=-1)
