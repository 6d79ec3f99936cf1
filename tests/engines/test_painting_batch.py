"""Batches for the painter: holes lie where they should, and canvases say what is in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_retina_gen.engines import PaintingInferer, PreparePaintingBatch, PreparePaintingInference
from monai_retina_gen.networks import LesionPainter


def batch(count: int = 4, side: int = 64) -> dict[str, Any]:
    """Photographs of noise; an exudate each at another place, a third that must not be touched."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(count, 7, side, side)
    masks[:, :2] = 1
    masks[:, 1, :, 48:] = 0
    for row in range(count):
        masks[row, 5, 10 + 8 * row : 13 + 8 * row, 10:13] = 1
        masks[row, 3, 30:33, 56:60] = 1  # where nothing may be painted
    image = torch.rand(count, 3, side, side, generator=generator)
    return {"image": (image * 255).byte(), "masks": (masks * 255).byte()}


def test_lesions_are_erased_with_a_margin_and_given() -> None:
    prepare = PreparePaintingBatch(lesion_share=1, empty_share=0, ellipse_share=0, margin=(5, 5), jitter=0)
    given = batch()
    real, condition = prepare(given, "cpu")
    canvas = condition["canvas"]
    torch.testing.assert_close((real + 1) / 2, given["image"].float() / 255)
    assert canvas.shape == (4, 10, 64, 64)
    for row in range(4):
        hole = canvas[row, 4]
        assert hole[10 + 8 * row, 11] == 1
        assert hole[10 + 8 * row - 5, 11] == 1
        assert hole[10 + 8 * row - 6, 11] == 0
    assert canvas[:, 8].sum() == 4 * 9  # exudates
    assert canvas[:, 4, :, 48:].sum() == 0


def test_empty_holes_have_the_shape_of_anothers_lesions() -> None:
    prepare = PreparePaintingBatch(lesion_share=0, empty_share=1, ellipse_share=0, margin=(5, 5), jitter=0)
    canvas = prepare(batch(), "cpu")[1]["canvas"]
    holes = canvas[:, 4].flatten(1).sum(1)
    assert (canvas[1, 4, 11, 46:48] == 1).all()  # the first crop's lesion, mirrored
    assert (holes > 0).all()


def test_draws_depend_on_the_random_state_alone() -> None:
    prepare, found = PreparePaintingBatch(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(prepare(batch(), "cpu")[1]["canvas"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("change", ["remove", "redraw"])
def test_inference_changes_holes_and_says_what_it_did(change: str) -> None:
    given = batch(2) | {"grade": [2, -1], "seed": [5, 6], "source": ["a.jpg", "b.jpg"]}
    canvas, target, _, keywords = PreparePaintingInference(change=change)(given, "cpu")
    assert (canvas[:, 6:].sum() == 0) == (change == "remove")
    inferer = PaintingInferer(bundle=("painter", "0.1.0", "00"), change=change)
    with torch.no_grad():
        image = inferer(canvas, LesionPainter(channels=(4, 8)), **keywords)
    outside = (canvas[:, 4:5] == 0).expand_as(image)
    assert torch.equal(image[outside], canvas[:, :3][outside])
    assert inferer.last_batch is not None
    assert [(r.source, r.grade, r.options) for r in inferer.last_batch.records] == [
        ("a.jpg", 2, {"change": change}),
        ("b.jpg", -1, {"change": change}),
    ]
    assert target.shape == (2, 13, 64, 64)


def test_another_change_is_refused() -> None:
    with pytest.raises(ValueError, match="remove, redraw"):
        PreparePaintingInference(change="add")


def test_some_masks_get_soft_edges_and_microaneurysms_never_do() -> None:
    given = batch()
    given["masks"][:, 3, 40, 40] = 255
    soft = PreparePaintingBatch(jitter=0, soft_share=1)(given, "cpu")[1]["canvas"]
    hard = PreparePaintingBatch(jitter=0, soft_share=0)(given, "cpu")[1]["canvas"]
    assert torch.equal(soft[:, 5:7], hard[:, 5:7])
    assert set(hard[:, 8].unique().tolist()) == {0.0, 1.0}
    assert soft[:, 8].unique().numel() > 2
    torch.testing.assert_close(soft[:, 8].sum(), hard[:, 8].sum())
