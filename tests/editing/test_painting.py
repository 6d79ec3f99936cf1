"""Painting on photographs: closed forms, what may change, what shows, and requests that make no sense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_retina_gen.editing.painting import (
    HolePainter,
    RatioPainter,
    change_map,
    paint,
    ratio_blend,
    without_invisible,
)
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks import DRGAN, PAINTED_LESIONS, LesionPainter

SIDE = 64


def square(top: int, left: int, side: int = 5, size: int = SIDE) -> Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., top : top + side, left : left + side] = 1
    return mask


def eye(count: int = 1, size: int = SIDE) -> tuple[Tensor, dict[str, Tensor]]:
    photograph = 0.2 + 0.5 * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    return photograph, {"fov": torch.ones(count, 1, size, size), "ex": square(8, 8, size=size).expand(count, 1, -1, -1)}


class Halves(nn.Module):
    """Stands for a mask-to-photograph network: 0.6, and half of it where any lesion is asked for."""

    latent_dim = 0

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def draw(self, seeds: Sequence[int], *, size: Sequence[int], device: Any) -> tuple[Tensor, list[Tensor]]:
        return torch.zeros(len(seeds), 0, device=device), []

    def forward(self, condition: Tensor, grade: Tensor, latent: Tensor, noise: list[Tensor]) -> Tensor:
        lesion = condition[:, 3:7].amax(1, keepdim=True)
        return (2 * (0.6 - 0.3 * lesion) - 1).expand(-1, 3, -1, -1)


def hole_painter(**options: Any) -> HolePainter:
    torch.manual_seed(0)
    return HolePainter(LesionPainter(channels=(4, 8)).eval(), **options)


def test_the_ratio_painter_multiplies_by_the_ratio() -> None:
    photograph, own = eye()
    spot = square(40, 40, 7)
    made = paint(
        RatioPainter(Halves(), image_size=SIDE), photograph, own, {"he": spot}, seeds=[0], grades=torch.ones(1)
    )
    middle = (..., 43, 43)
    assert float(made.change[middle]) == pytest.approx(1, abs=1e-3)
    expected = (photograph[middle] + 0.03) * (0.3 + 0.03) / (0.6 + 0.03) - 0.03
    torch.testing.assert_close(made.image[middle], expected, atol=1e-3, rtol=0)
    assert torch.equal(made.masks["ex"], own["ex"])


def test_a_ratio_is_limited_and_none_is_no_change() -> None:
    x = torch.rand(1, 3, 8, 8)
    ones = torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(ratio_blend(x, torch.zeros_like(x), ones), x)
    expected = ((x + 0.03) * torch.tensor(1.2).exp() - 0.03).clamp(0, 1)
    torch.testing.assert_close(ratio_blend(x, torch.full_like(x, 7.0), ones), expected)


def test_the_ratio_is_brought_to_larger_photographs() -> None:
    photograph, own = eye(size=2 * SIDE)
    spot = square(60, 60, 14, size=2 * SIDE)
    painter = RatioPainter(Halves(), image_size=SIDE)
    made = paint(painter, photograph, own, {"he": spot}, seeds=[0], grades=torch.ones(1))
    middle = (..., 67, 67)
    expected = (photograph[middle] + 0.03) * (0.33 / 0.63) - 0.03
    torch.testing.assert_close(made.image[middle], expected, atol=1e-3, rtol=0)


def test_a_real_network_draws_both_with_one_latent() -> None:
    """Nothing wanted that is not there: the ratio is one, and nothing changes."""
    torch.manual_seed(0)
    painter = RatioPainter(DRGAN(base_width=4, residual_blocks=1).eval(), image_size=SIDE)
    photograph, own = eye(2)
    made = paint(painter, photograph, own, {"ex": own["ex"]}, seeds=[1, 2], grades=torch.tensor([2, 3]))
    assert torch.equal(made.image, photograph)
    with pytest.raises(ValueError, match="grades"):
        paint(painter, photograph, own, {"ex": own["ex"]}, seeds=[1, 2])


@settings(max_examples=15, deadline=None)
@given(top=st.integers(0, 56), left=st.integers(0, 56), side=st.integers(1, 8), lesion=st.sampled_from(PAINTED_LESIONS))
def test_outside_the_change_map_every_bit_stays(top: int, left: int, side: int, lesion: str) -> None:
    photograph, own = eye()
    wanted = {lesion: square(top, left, side)}
    for painter in (hole_painter(), RatioPainter(Halves(), image_size=SIDE)):
        made = paint(painter, photograph, own, wanted, seeds=[3], grades=torch.tensor([2]))
        outside = (made.change == 0).expand_as(photograph)
        assert torch.equal(made.image[outside], photograph[outside])
        assert 0 <= float(made.change.min()) <= float(made.change.max()) <= 1
        assert 0 <= float(made.image.min()) <= float(made.image.max()) <= 1


def test_a_painting_depends_on_its_seed_and_not_on_its_neighbours() -> None:
    painter = hole_painter(batch_size=2)
    photograph, own = eye(3)
    wanted = {"ex": torch.zeros_like(own["ex"]), "he": square(30, 30).expand(3, 1, -1, -1)}
    together = paint(painter, photograph, own, wanted, seeds=[5, 6, 5]).image
    alone = paint(
        painter, photograph[1:2], {k: v[1:2] for k, v in own.items()}, {k: v[1:2] for k, v in wanted.items()}, seeds=[6]
    ).image
    torch.testing.assert_close(together[1:2], alone)
    other = paint(painter, photograph, own, wanted, seeds=[7, 6, 5]).image
    assert not torch.equal(other[0], together[0])
    assert torch.equal(other[2], together[2])


def test_any_size_is_painted() -> None:
    photograph, own = eye(size=75)
    made = paint(hole_painter(), photograph, own, {"he": square(30, 30, size=75)}, seeds=[0])
    assert made.image.shape == photograph.shape
    assert (made.image != photograph).any()


def test_removed_lesions_leave_photograph_and_masks() -> None:
    photograph, own = eye()
    made = paint(hole_painter(), photograph, own, {"ex": torch.zeros_like(own["ex"])}, seeds=[0])
    assert float(made.change[..., 10, 10]) > 0
    assert float(made.masks["ex"].sum()) == 0


def test_what_does_not_show_leaves_the_masks() -> None:
    """A dark and a pale spot, each asked for as haemorrhage and as exudate; old ones stay as they are."""
    image, dark, pale, old = torch.full((2, 3, SIDE, SIDE), 0.5), square(10, 10), square(10, 40), square(40, 10)
    image[:, 1:2] += 0.1 * pale - 0.1 * dark
    soft = (dark + pale).clamp(0, 1)
    soft[..., 9, 10:15] = 0.2  # a soft edge
    masks = {name: soft.expand(2, 1, -1, -1).clone() for name in ("he", "ex")}
    masks["he"][0] += old[0]
    none = torch.zeros_like(masks["ex"])
    shown = without_invisible(image, {"he": none + old, "ex": none}, masks, contrast=0.03)
    assert float(shown["he"][1].sum()) == pytest.approx(25 + 5 * 0.2)  # the dark one with its edge
    assert float(shown["ex"][1].sum()) == 25
    assert float((shown["he"] * old)[0].sum()) == 25
    kept = without_invisible(image, {"he": none, "ex": none}, masks, contrast=-1)
    assert all(torch.equal(kept[name], masks[name]) for name in masks)


def test_the_change_map_ends_at_the_field_of_view() -> None:
    field = torch.ones(1, 1, 256, 256)
    field[..., :128] = 0
    soft = change_map({"fov": field, "he": torch.zeros(1, 1, 256, 256)}, {"he": square(100, 126, 6, 256)})
    assert float(soft[..., :128].max()) == 0
    assert float(soft[0, 0, 103, 130]) > 0.99
    assert float(soft[0, 0, 103, 150]) == 0  # 5 px wider, and three deviations of 1.5 px


BAD: list[tuple[dict[str, Any], str]] = [
    ({"photograph": torch.rand(3, 64, 64)}, r"wanted \(B, 3, H, W\)"),
    ({"photograph": torch.rand(1, 3, 64, 64) + 1}, r"wanted \[0, 1\]"),
    ({"own": {}}, "'fov'"),
    ({"own": {"fov": torch.zeros(1, 1, 64, 64)}}, "no retina"),
    ({"own": {"fov": torch.ones(1, 1, 32, 32)}}, "as the photograph"),
    ({"wanted": {"laser": torch.zeros(1, 1, 64, 64)}}, "wanted any of"),
    ({"wanted": {"he": torch.full((1, 1, 64, 64), float("nan"))}}, r"wanted \[0, 1\]"),
    ({"seeds": [1, 2]}, "give one for each"),
    ({"grades": torch.tensor([1, 2])}, "give one for each"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_requests_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    photograph, own = eye()
    request = {"photograph": photograph, "own": own, "wanted": {}, "seeds": [0]} | change
    with pytest.raises((ImageValueError, ValueError), match=message):
        paint(hole_painter(), **request)


@pytest.mark.parametrize("kind", ["ratio", "holes"])
def test_nothing_new_changes_the_same_places_and_ignores_what_is_wanted(kind: str) -> None:
    """The control of painting: it depends on where lesions are wanted, not on which."""
    torch.manual_seed(0)
    size = 64
    painter: Any
    if kind == "ratio":
        painter = RatioPainter(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False), image_size=size)
    else:
        painter = HolePainter(LesionPainter(channels=(4, 8)))
    empty = torch.zeros(1, 1, size, size)
    own = {"fov": torch.ones_like(empty), "od": empty, "vessel": empty, **dict.fromkeys(PAINTED_LESIONS, empty)}
    spot = empty.clone()
    spot[..., 30:34, 30:34] = 1
    photograph, options = torch.rand(1, 3, size, size), {"seeds": [3], "grades": torch.tensor([2])}
    made = {name: painter.draw(photograph, own, {**own, name: spot}, **options) for name in ("ex", "he")}
    same = {
        name: painter.draw(photograph, own, {**own, name: spot}, nothing_new=True, **options) for name in ("ex", "he")
    }
    assert torch.equal(same["ex"][0], same["he"][0])
    assert torch.equal(same["ex"][1], made["ex"][1])
    assert not torch.equal(same["ex"][0], made["ex"][0])
