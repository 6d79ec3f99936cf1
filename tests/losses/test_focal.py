from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from monai_retina_gen.losses import GradeFocalLoss


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), gamma=st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_two_grades_equal_torchvisions_sigmoid_form(seed: int, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, target = torch.randn(6, 2, generator=generator), torch.randint(0, 2, (6,), generator=generator)
    expected = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], target.float(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(GradeFocalLoss(gamma=gamma)(logits, target), expected)


def test_gamma_zero_is_weighted_cross_entropy() -> None:
    logits, target, weight = torch.randn(8, 5), torch.arange(8) % 5, torch.rand(5) + 0.1
    expected = nn.CrossEntropyLoss(weight=weight)(logits, target)
    torch.testing.assert_close(GradeFocalLoss(gamma=0, weight=weight.tolist())(logits, target), expected)


def test_certain_photographs_give_finite_gradients() -> None:
    logits = torch.tensor([[80.0, 0.0], [-80.0, 0.0]], requires_grad=True)
    GradeFocalLoss()(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    with pytest.raises(ValueError, match="gamma"):
        GradeFocalLoss(gamma=-1)
