from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_retina_gen.losses import LesionLoss


def batch(seed: int = 0, structures: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, structures, 8, 8, generator=generator)
    return logits, torch.rand(2, structures, 8, 8, generator=generator).pow(4)


def literal(logits: Tensor, target: Tensor, weight: float, share: float, focusing: float = 0.0) -> float:
    """One structure at a time in float64, from the definitions."""
    entropies, overlaps = [], []
    for k in range(target.shape[1]):
        rows = [b for b in range(len(target)) if target[b, k, 0, 0] >= 0]
        if not rows:
            continue
        p, t = torch.sigmoid(logits[rows, k].double()), target[rows, k].double()
        entropies.append(-((t - p).abs() ** focusing * (weight * t * p.log() + (1 - t) * (1 - p).log())).mean())
        hit, alarm, miss = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
        if t.sum() > 0:
            overlaps.append(1 - hit / (hit + (1 - share) * alarm + share * miss))
    return float(sum(entropies) / len(entropies) + (sum(overlaps) / len(overlaps) if overlaps else 0))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), missing=st.sets(st.tuples(st.integers(0, 1), st.integers(0, 2)), max_size=4))
def test_equals_the_definitions(seed: int, missing: set[tuple[int, int]]) -> None:
    logits, target = batch(seed)
    for b, k in missing:
        target[b, k] = -1
    if (target < 0).all():
        return
    loss = LesionLoss(positive_weight=3.0, false_negatives=0.7)
    assert float(loss(logits, target)) == pytest.approx(literal(logits, target, 3.0, 0.7), rel=1e-4)
    focal = LesionLoss(positive_weight=1.0, false_negatives=0.5, focusing=2.0)
    assert float(focal(logits, target)) == pytest.approx(literal(logits, target, 1.0, 0.5, 2.0), rel=1e-4)


def test_channels_without_annotation_get_no_gradient() -> None:
    logits, target = batch()
    target[0, 1], target[:, 2] = -1, -1
    logits.requires_grad_()
    LesionLoss()(logits, target).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1].abs().max() == 0
    assert logits.grad[:, 2].abs().max() == 0
    assert logits.grad[0, 0].abs().min() > 0
    nothing = LesionLoss()(logits, torch.full_like(target, -1))
    nothing.backward()
    assert nothing == 0


def test_deep_supervision_halves_the_weights() -> None:
    logits, target = batch()
    other = batch(1)[0]
    loss = LesionLoss()
    expected = (loss(logits, target) + 0.5 * loss(other, target)) / 1.5
    torch.testing.assert_close(loss(torch.stack([logits, other], 1), target), expected)


def test_float32_inside_autocast_and_bad_input() -> None:
    logits, target = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert LesionLoss()(logits.bfloat16(), target).dtype == torch.float32
    with pytest.raises(ValueError, match="do not match"):
        LesionLoss()(logits, target[:, :1])
    with pytest.raises(ValueError, match="false_negatives"):
        LesionLoss(false_negatives=2)
