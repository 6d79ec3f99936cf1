"""Spatial and channel attention against a literal version in float64; pooling above the exact side."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from monai_retina_gen.networks import SpatialChannelAttention


def literal(module: SpatialChannelAttention, x: Tensor) -> Tensor:
    """The printed formulas, entry by entry where they are sums (Zhou et al., section III.B)."""
    batch, channels, height, width = x.shape
    places = height * width

    def conv(layer: torch.nn.Conv2d, y: Tensor) -> Tensor:
        assert layer.bias is not None
        return conv2d(y, layer.weight.double(), layer.bias.double())

    first, second, third = (conv(c, x).reshape(batch, -1, places) for c in (module.keys, module.queries, module.values))
    spatial, channel = torch.empty_like(x), torch.empty_like(x)
    flat = x.reshape(batch, channels, places)
    for b in range(batch):
        energy = torch.stack([torch.stack([(first[b, :, i] * second[b, :, j]).sum() for j in range(places)])
                              for i in range(places)])  # fmt: skip
        attention = energy.exp() / energy.exp().sum(0, keepdim=True)
        spatial[b] = x[b] + (third[b] @ attention).reshape(channels, height, width)
        gram = torch.stack([torch.stack([(flat[b, i] * flat[b, j]).sum() for j in range(channels)])
                            for i in range(channels)])  # fmt: skip
        if module.channel_energy == "mean":
            gram = gram / places
        gram = gram - gram.amax(1, keepdim=True)
        weights = gram.exp() / gram.exp().sum(1, keepdim=True)
        channel[b] = x[b] + (weights @ flat[b]).reshape(channels, height, width)
    a, b2 = module.weights.double()
    return a * conv(module.after_spatial, spatial) + b2 * conv(module.after_channel, channel)


@pytest.mark.parametrize("energy", ["sum", "mean"])
def test_equals_the_printed_formula(energy: str) -> None:
    torch.manual_seed(0)
    module = SpatialChannelAttention(channels=6, reduction=1, channel_energy=energy)
    torch.nn.init.normal_(module.weights)
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(module(x).double(), literal(module, x.double()), atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(1)
    module = SpatialChannelAttention(channels=5, reduction=1).double()
    x = torch.randn(1, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 5, 2, 3, dtype=torch.float64)
    (module(x) * weight).sum().backward()
    found = x.grad
    x.grad = None
    (literal(module, x) * weight).sum().backward()
    # the channel attention is computed in float32
    torch.testing.assert_close(found, x.grad, atol=1e-5, rtol=1e-5)


def test_places_are_equal_but_for_the_pooling() -> None:
    """Without pooling a permutation of places permutes the output: nothing depends on where a place lies."""
    torch.manual_seed(2)
    module = SpatialChannelAttention(channels=4, reduction=1)
    x, order = torch.randn(1, 4, 4, 4), torch.randperm(16)
    moved = x.flatten(2)[..., order].view_as(x)
    torch.testing.assert_close(module(moved).flatten(2), module(x).flatten(2)[..., order])


def test_pools_keys_and_values_above_the_exact_side() -> None:
    torch.manual_seed(3)
    pooled = SpatialChannelAttention(channels=4, reduction=1, exact_side=4)
    exact = SpatialChannelAttention(channels=4, reduction=1)
    exact.load_state_dict(pooled.state_dict())
    blocks = torch.randn(1, 4, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    # where squares of 2 x 2 places are equal, averaging them loses nothing
    torch.testing.assert_close(pooled(blocks), exact(blocks))
    assert not torch.allclose(pooled(torch.randn(1, 4, 8, 8)), exact(torch.randn(1, 4, 8, 8)))
    assert pooled._pooled(torch.zeros(1, 4, 9, 6)).shape == (1, 4, 3, 2)


@settings(max_examples=20, deadline=None)
@given(channels=st.integers(1, 9), height=st.integers(1, 7), width=st.integers(1, 7), side=st.integers(1, 8))
def test_any_shape(channels: int, height: int, width: int, side: int) -> None:
    module = SpatialChannelAttention(channels=channels, reduction=8, exact_side=side)
    found = module(torch.randn(2, channels, height, width))
    assert found.shape == (2, channels, height, width)
    assert found.isfinite().all()


def test_stays_finite_for_large_energies() -> None:
    assert SpatialChannelAttention(channels=8)(1e3 * torch.randn(1, 8, 8, 8)).isfinite().all()


@pytest.mark.parametrize("options", [{"channel_energy": "max"}, {"reduction": 0}, {"exact_side": 0}])
def test_refuses(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SpatialChannelAttention(channels=4, **options)  # type: ignore[arg-type]
