"""Crops for the painter: photograph and masks are cut alike, around lesions."""

from __future__ import annotations

import pytest
import torch

from monai_retina_gen.transforms import RandPaintingCropd, StackPaintingd


def eye() -> dict[str, torch.Tensor]:
    """Every pixel has a colour of its own; two haemorrhages, one at the rim, and one microaneurysm of half a pixel."""
    places = torch.arange(96 * 96).view(1, 96, 96)
    image = torch.cat([places % 251, places // 96, torch.full_like(places, 200)]).float() / 255
    masks = {name: torch.zeros(1, 96, 96) for name in ("he", "ma", "od", "vessel")}
    masks["he"][0, 40:44, 50:54], masks["he"][0, 0:2, 40:42], masks["ma"][0, 70, 20] = 1, 1, 0.5
    masks["od"][0, 40:56, 70:86] = 1
    return {"image": image, "fov": torch.ones(1, 96, 96), **masks}


def test_pieces_are_those_that_may_be_painted() -> None:
    stacked = StackPaintingd(keep=["grade"])(eye() | {"grade": 2})
    assert stacked["pieces"].tolist() == [[0, 70, 20], [1, 42, 52]]  # not the one at the rim
    assert stacked["image"].dtype == stacked["masks"].dtype == torch.uint8
    assert stacked["grade"] == 2
    assert int(stacked["masks"][1, 48, 78]) == 0  # the disc


@pytest.mark.parametrize("seed", range(8))
def test_photograph_and_masks_are_cut_alike_around_a_lesion(seed: int) -> None:
    stacked = StackPaintingd()(eye())
    cut = RandPaintingCropd(size=32, share=1.0).set_random_state(seed)(stacked)
    lesions = cut["masks"][3:].amax(0)
    assert lesions.max() > 100
    rows = cut["image"][1].long()  # a pixel's row in the photograph
    kind = cut["masks"][4] == 255
    if kind.any():
        assert set(rows[kind].tolist()) <= {0, 1, 40, 41, 42, 43}
    again = RandPaintingCropd(size=32, share=1.0).set_random_state(seed)(stacked)
    assert torch.equal(cut["image"], again["image"])


def test_field_of_view_is_found_where_no_mask_says_it() -> None:
    item = eye()
    del item["fov"]
    item["image"][:, :, :10] = 0
    field = StackPaintingd()(item)["masks"][0]
    assert field[:, :10].max() == 0
    assert field[:, 10:].min() == 255


def test_a_crop_larger_than_the_photograph_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than the photograph"):
        RandPaintingCropd(size=128)(StackPaintingd()(eye()))
