"""The painter of lesions: what it may look at, what it may change, holes and their edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from monai_retina_gen.networks import (
    CANVAS_KEYS,
    LesionPainter,
    PaintingDiscriminator,
    dilated,
    feathered,
    local_mean,
    paintable,
)

HOLE, LESIONS = CANVAS_KEYS.index("hole"), slice(6, 10)


def painter() -> LesionPainter:
    torch.manual_seed(0)
    network = LesionPainter(channels=(4, 8, 8)).eval()
    torch.nn.init.normal_(network.to_rgb.weight)
    return network


def canvas(height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    """Noise with a field of view of ones and a square hole."""
    made = torch.rand(1, 10, height, width, generator=torch.Generator().manual_seed(seed))
    made[:, 3], made[:, HOLE] = 1, 0
    made[:, HOLE, 20:40, 20:40] = 1
    return made


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), seed=st.integers(0, 99))
def test_outside_of_holes_the_photograph_stays(rows: int, columns: int, seed: int) -> None:
    made = torch.rand(1, 10, 16 * rows, 16 * columns, generator=torch.Generator().manual_seed(seed))
    made[:, 3:5] = (made[:, 3:5] > 0.5).float()
    found = painter()(made)
    outside = (made[:, [HOLE]] == 0).expand_as(found)
    torch.testing.assert_close(found[outside], (2 * made[:, :3] - 1)[outside])


def test_what_was_in_a_hole_is_not_seen_and_masks_count_in_holes_only() -> None:
    network, one = painter(), canvas()
    other = one.clone()
    other[:, :3, 22:38, 22:38] = 0.5  # another photograph in the hole, off its edge
    other[:, LESIONS, :20] = 1  # lesions that nobody wants drawn
    found, again = network(one), network(other)
    torch.testing.assert_close(found[:, :, 24:36, 24:36], again[:, :, 24:36, 24:36])
    asked = one.clone()
    asked[:, 6, 28:32, 28:32] = 1 - asked[:, 6, 28:32, 28:32]
    assert not torch.allclose(network(asked)[:, :, 24:36, 24:36], found[:, :, 24:36, 24:36])


def test_black_around_the_eye_does_not_change_the_drawing() -> None:
    """No normalisation over places: a crop and a whole photograph are drawn alike."""
    network, one = painter(), canvas()
    framed = torch.zeros(1, 10, 128, 128)
    framed[:, :, 32:96, 32:96] = one
    torch.testing.assert_close(network(framed)[:, :, 56:68, 56:68], network(one)[:, :, 24:36, 24:36], atol=2e-2, rtol=0)


def test_noise_changes_the_inside_of_holes_alone() -> None:
    network, one = painter(), canvas()
    changed = (network(one, torch.randn(1, 1, 64, 64)) != network(one)).any(1)
    assert changed.any()
    assert not changed[one[:, HOLE] == 0].any()


def test_scripted_and_exported_are_the_same() -> None:
    network, one = painter(), canvas()
    scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(one), network(one))
    exported = torch.export.export(network, (one,)).module()
    torch.testing.assert_close(exported(one), network(one))


def test_size_and_gradients() -> None:
    network = LesionPainter()
    assert sum(p.numel() for p in network.parameters()) < 10e6
    network = painter()
    found = PaintingDiscriminator(base_width=4)(network(canvas()), canvas())
    found["score"][0].mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("shape", [(1, 9, 64, 64), (1, 10, 60, 64), (10, 64, 64)])
def test_other_canvases_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="canvas: shape"):
        painter()(torch.zeros(shape))


@settings(max_examples=20, deadline=None)
@given(radius=st.integers(0, 14), seed=st.integers(0, 99))
def test_dilated_lies_between_two_circles(radius: int, seed: int) -> None:
    """Against the exact distance transform: an octagon contains a circle of 0.9 of its radius."""
    points = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(seed)) > 0.998
    distance = ndimage.distance_transform_edt(~points[0, 0].numpy())
    wide = dilated(points.float(), radius)[0, 0].numpy() > 0
    if points.any():
        assert wide[distance <= 0.9 * radius].all()
        assert not wide[distance > 1.06 * radius + 0.5].any()


def test_feather_is_zero_at_the_edge_and_one_inside() -> None:
    hole = torch.zeros(1, 1, 41, 41)
    hole[..., 10:31, 10:31] = 1
    weight = feathered(hole, 3)
    assert float(weight[..., 10, 20]) == pytest.approx(1 / 7)  # 4 of 7 columns lie inside: 2 * 4/7 - 1
    assert float(weight[..., 13:28, 13:28].min()) == 1
    assert float(weight[hole == 0].max()) == 0


def test_local_mean_knows_neither_holes_nor_black() -> None:
    image = torch.full((1, 3, 128, 128), 0.4)
    known = torch.ones(1, 1, 128, 128)
    known[..., 32:96, 32:96], known[..., :16] = 0, 0
    image[..., 32:96, 32:96], image[..., :16] = 0.9, 0.0
    torch.testing.assert_close(local_mean(image, known), torch.full_like(image, 0.4), atol=1e-4, rtol=0)
    assert float(local_mean(image, torch.zeros_like(known)).abs().max()) == 0


def test_paintable_keeps_off_rim_and_disc() -> None:
    """Against exact distances: 5 % of the radius from the rim, 2 % of the side from the disc, to a tenth."""
    y, x = np.mgrid[:256, :256] - 127.5
    field = torch.from_numpy((np.hypot(y, x) < 128).astype(np.float32))[None, None]
    disc = torch.from_numpy((np.hypot(y, x - 60) < 20).astype(np.float32))[None, None]
    allowed = paintable(field, disc)[0, 0].numpy() > 0
    assert allowed[(np.hypot(y, x) < 118) & (np.hypot(y, x - 60) > 28)].all()
    assert not allowed[(np.hypot(y, x) > 123.5) | (np.hypot(y, x - 60) < 24)].any()
