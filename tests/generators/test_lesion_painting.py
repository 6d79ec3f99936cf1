"""Edits by painting: what is added, replaced and taken away, what is refused, and canvases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from painting_parts import MASKS, SIDE, Knows, painting_generator, phantom
from scipy import ndimage
from torch import Tensor

from monai_retina_gen.data import LesionBank, MaskComposer
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.editing.painting import WantedLesions, label_change, quadrant_counts
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError, WeightsError
from monai_retina_gen.generators import DRGANGenerator, LesionPainterGenerator, regenerate
from monai_retina_gen.networks import DRGAN, PAINTED_LESIONS, LesionPainter

LESIONS = list(PAINTED_LESIONS)


def pieces(mask: Tensor) -> int:
    return int(ndimage.label(mask.squeeze().numpy() >= 0.4)[1])


def test_lesions_of_the_grade_are_added_and_nothing_else_changes(phantom_bank: LesionBank) -> None:
    image, masks = phantom(3)
    batch = painting_generator(phantom_bank).edit(image, [3], seeds=[4], masks=masks)
    record = batch.records[0]
    assert (record.mode, record.options["lesion"], record.options["change"]) == ("edit", "ma+he+ex+se", "add")
    assert record.options["composed_from"].startswith("phantom")
    assert sum(pieces(batch.masks[name]) for name in LESIONS) > sum(pieces(masks[name]) for name in LESIONS)
    for name in LESIONS:
        assert bool((batch.masks[name] >= masks[name]).all()), name  # the eye's own stay
    assert all(torch.equal(batch.masks[name], masks[name]) for name in ("fov", "od", "vessel"))
    own = {name: masks[name][0] for name in LESIONS}
    asked = (
        MaskComposer(phantom_bank)
        .compose({k: masks[k][0] for k in ("fov", "od")}, 3, seed=4, lesions=LESIONS, own=own)
        .masks
    )
    new = torch.stack([asked[name] for name in LESIONS]).amax(0) > 0
    assert torch.equal(batch.image[:, :, ~new[0]], image[:, :, ~new[0]])
    assert not torch.equal(batch.image, image)


def test_grade_1_gets_microaneurysms_alone_and_grade_0_nothing(phantom_bank: LesionBank) -> None:
    generator, (image, masks) = painting_generator(phantom_bank), phantom(0)
    both = {name: mask.expand(2, -1, -1, -1) for name, mask in masks.items()}
    batch = generator.edit(image.expand(2, -1, -1, -1), [0, 1], seeds=[1, 2], masks=both)
    assert torch.equal(batch.image[:1], image)
    assert batch.records[0].options["refused"].startswith("grade 0 excludes")
    assert batch.records[1].options["lesion"] == "ma"
    assert bool(batch.masks["ma"][1].any())
    assert not any(bool(batch.masks[name].any()) for name in ("he", "ex", "se"))
    refused = generator.edit(image, [1], lesion="ma+ex", masks=masks)
    assert refused.records[0].options["refused"].startswith("grade 1 excludes ex")


@pytest.mark.parametrize("lesion", ["ex", "he+ex"])
def test_lesions_that_are_not_asked_for_stay(phantom_bank: LesionBank, lesion: str) -> None:
    image, masks = phantom(3)
    batch = painting_generator(phantom_bank).edit(image, [3], seeds=[2], lesion=lesion, change="replace", masks=masks)
    assert "refused" not in batch.records[0].options
    changed = [name for name in LESIONS if not torch.equal(batch.masks[name], masks[name])]
    assert set(changed) <= set(lesion.split("+"))
    assert "ex" in changed


def test_lesions_are_taken_away_but_not_those_that_make_the_grade(phantom_bank: LesionBank) -> None:
    generator, (image, masks) = painting_generator(None), phantom(2)
    for name, place in (("he", 40), ("ex", 80)):
        masks[name] = torch.zeros_like(masks[name])
        masks[name][..., place : place + 4, 60:64] = 1
    batch = generator.edit(image, [2], lesion="ex", change="remove", masks=masks)
    assert not bool(batch.masks["ex"].any())
    assert bool((batch.image != image)[..., 80:84, 60:64].any())
    assert torch.equal(batch.masks["he"], masks["he"])
    whole = generator.edit(image, [2], change="remove", masks=masks)
    assert whole.records[0].options["refused"] in ("grade 2 shows no lesion", "grade 2 shows microaneurysms only")
    none = generator.edit(*[image, [2]], lesion="se", change="remove", masks={**masks, "se": 0 * masks["se"]})
    assert "has none of these" in none.records[0].options["refused"]


@settings(max_examples=20, deadline=None)
@given(
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    change=st.sampled_from(["add", "replace", "remove"]),
    seed=st.integers(0, 99),
)
def test_a_larger_share_changes_more(shares: tuple[float, float], change: str, seed: int) -> None:
    drawn = torch.Generator().manual_seed(seed)
    own = {name: torch.zeros(1, 32, 32) for name in ("fov", "od", *LESIONS)}
    for name in LESIONS:
        rows, columns = torch.randint(0, 32, (3,), generator=drawn), torch.randint(0, 16, (3,), generator=drawn)
        own[name][0][rows, 2 * columns + 1] = 1.0  # where nothing is composed, which would draw again what was removed

    class Composes:
        lesions = LESIONS

        def compose(self, *a: Any, strength: float, **options: Any) -> Any:
            masks = {name: torch.zeros(1, 32, 32) for name in LESIONS}
            masks["he"][0, : int(32 * strength), ::6] = 1.0
            return type("Made", (), {"masks": masks, "profile": "eye"})

    wanted = WantedLesions(own, LESIONS, change, composer=Composes(), grade=3, seed=seed)  # type: ignore[arg-type]
    less, more = (wanted.at(share) for share in sorted(shares))
    before = wanted.at(0.0)
    assert torch.equal(before, torch.cat([own[name] for name in LESIONS]))
    assert bool(((less != before) <= (more != before)).all())
    ends = wanted.at(1.0)
    if change == "remove":
        assert not bool(ends.any())
    elif change == "add":
        assert bool((ends >= before).all())


def test_the_share_is_that_of_the_pieces(phantom_bank: LesionBank) -> None:
    _, masks = phantom(0)
    counts = []
    for share in (0.25, 0.5, 1.0):
        own = {k: m[0] for k, m in masks.items()}
        composer = MaskComposer(phantom_bank)
        wanted = WantedLesions(own, LESIONS, "add", composer=composer, grade=3, seed=3).at(share)
        counts.append(sum(int(ndimage.label(plane.numpy() > 0)[1]) for plane in wanted))
    assert counts[0] == pytest.approx(counts[2] / 4, abs=1.5)
    assert counts[1] == pytest.approx(counts[2] / 2, abs=1.5)


def test_twenty_haemorrhages_in_every_quadrant_make_an_eye_severe() -> None:
    def eye(per_quadrant: Sequence[int]) -> dict[str, Any]:
        return {"he": np.array(per_quadrant), "ma": np.array([1, 0, 0, 0])}

    assert "20 haemorrhages" in label_change(2, eye([19, 30, 30, 30]), eye([20, 30, 30, 30]))
    assert "20 haemorrhages" in label_change(2, eye([0, 0, 0, 0]), eye([20, 20, 20, 20]))  # nothing was known before
    assert not label_change(2, eye([2, 0, 0, 0]), eye([19, 99, 99, 99]))
    assert not label_change(3, eye([2, 0, 0, 0]), eye([25, 25, 25, 25]))
    assert not label_change(4, eye([2, 0, 0, 0]), eye([25, 25, 25, 25]))


def test_pieces_are_counted_about_the_fovea() -> None:
    field, disc = torch.ones(1, 64, 64), torch.zeros(1, 64, 64)
    disc[0, 28:36, 8:16] = 1  # a fovea at about (36, 34), temporal to the right
    spots = torch.zeros(1, 64, 64)
    for y, x in ((10, 50), (12, 58), (60, 50), (60, 10)):
        spots[0, y, x] = 1
    assert quadrant_counts({"he": spots}, field, disc)["he"].tolist() == [2, 0, 1, 1]


def test_an_eye_that_would_become_severe_is_refused(phantom_bank: LesionBank) -> None:
    image, masks = phantom(0)
    masks["he"] = torch.zeros_like(masks["he"])
    masks["he"][..., 6:122:6, 6:122:6] = 1
    masks["he"] *= (masks["fov"] >= 0.5) & (masks["od"] < 0.5)
    batch = painting_generator(phantom_bank).edit(image, [2], seeds=[1], masks=masks)
    assert "20 haemorrhages" in batch.records[0].options["refused"]
    assert torch.equal(batch.image, image)
    assert torch.equal(batch.masks["he"], masks["he"])


def test_own_masks_are_found_once_for_a_photograph(phantom_bank: LesionBank) -> None:
    image, masks = phantom(2)
    knows = Knows({name: masks[name] for name in MASKS if name != "fov"})
    generator = painting_generator(phantom_bank, knows)
    for seed in (1, 2, 3):
        batch = generator.edit(image, [2], seeds=[seed])
        assert not batch.masks
    assert knows.seen == 1
    assert batch.records[0].options["made_with"]["segmenter"] == "knows 1"
    found = generator.edit(image, [2], seeds=[1], with_masks=True)
    same = {name: (masks[name] >= 0.5).float() for name in MASKS if name != "fov"}
    assert torch.equal(generator.edit(image, [2], seeds=[1], masks=same).image, found.image)
    assert sorted(found.masks) == sorted(LESIONS)
    generator.edit(1 - 0.9 * (1 - image), [2], seeds=[1])
    assert knows.seen == 2


def test_what_is_found_and_the_grade_excludes_is_a_false_alarm(phantom_bank: LesionBank) -> None:
    image, masks = phantom(3)
    knows = Knows({name: masks[name] for name in MASKS if name != "fov"})
    batch = painting_generator(phantom_bank, knows).edit(image, [1], seeds=[1], with_masks=True)
    assert not any(bool(batch.masks[name].any()) for name in ("he", "ex", "se"))


@pytest.mark.parametrize("disc", [0, 1])
def test_without_a_disc_there_is_no_edit(phantom_bank: LesionBank, disc: int) -> None:
    image, masks = phantom(3)
    masks["od"] = torch.zeros_like(masks["od"])
    masks["od"][..., 60 : 60 + disc, 60] = 1  # one pixel is none either
    for change in ("add", "remove"):
        batch = painting_generator(phantom_bank).edit(image, [3], change=change, masks=masks)
        assert "no optic disc" in batch.records[0].options["refused"]
        assert torch.equal(batch.image, image)


class AtMost:
    """Accepts edits that change at most so many pixels."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def check(self, images: Tensor, grades: Any, originals: Tensor | None = None, groups: Any = None) -> GateVerdict:
        assert originals is not None
        changed = (images != originals).any(1).flatten(1).sum(1).tolist()
        return GateVerdict(["" if n <= self.pixels else f"{n} pixels" for n in changed], "AtMost", [{}] * len(images))


def test_the_gate_finds_the_largest_share_that_passes(phantom_bank: LesionBank) -> None:
    image, masks = phantom(0)
    generator = painting_generator(phantom_bank)
    whole = generator.edit(image, [3], seeds=[4], masks=masks)
    pixels = int((whole.image != image).any(1).sum())
    gated = generator.edit(image, [3], seeds=[4], masks=masks, gate=AtMost(pixels // 2), tries=5)
    assert 0 < gated.records[0].options["strength"] < 1
    assert gated.records[0].label == "verified by AtMost"
    assert 0 < int((gated.image != image).any(1).sum()) <= pixels // 2
    assert torch.equal(generator.edit(image, [3], seeds=[4], masks=masks, gate=AtMost(0)).image, image)


def test_a_record_makes_its_picture_again(
    phantom_bank: LesionBank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image, masks = phantom(3)
    generator = painting_generator(phantom_bank)
    monkeypatch.setattr("monai_retina_gen.generators.regeneration.load_generator", lambda *a, **k: generator)
    own = {name: mask[0] for name, mask in masks.items()}
    none = {**masks, "od": torch.zeros_like(masks["od"])}
    made = [
        (generator.edit(image, [3], seeds=[9], strength=0.37, masks=masks, gate=AtMost(200)), own),
        (generator.edit(image, [3], seeds=[9], lesion="he", change="replace", masks=masks), own),
        (generator.edit(image, [3], seeds=[9], masks=none), {k: m[0] for k, m in none.items()}),
        (generator.synthesize(masks, [2], seeds=[8], canvas=image, sources=["eye.png"]), own),
        (generator.synthesize(none, [2], seeds=[8], canvas=image), {k: m[0] for k, m in none.items()}),
    ]
    for batch, given_masks in made:
        record = GenerationRecord.from_json(batch.records[0].to_json())
        again = regenerate(record, source=image[0], masks=given_masks)
        assert torch.equal(again.image, batch.image)
        assert torch.equal(again.grade.cpu(), batch.grade.cpu())
        assert again.records == [replace(record, label="unverified")]
    with pytest.raises(ValueError, match="needs its photograph"):
        regenerate(made[3][0].records[0], masks=own)
    other = {**made[0][0].records[0].options, "made_with": {"lesion_bank": "0" * 64}}
    with pytest.raises(WeightsError, match="lesion_bank"):
        regenerate(replace(made[0][0].records[0], options=other), source=image[0], masks=own)


def test_healthy_eyes_are_painted_to_grades(phantom_bank: LesionBank) -> None:
    image, masks = phantom(0)
    generator = painting_generator(phantom_bank, Knows({k: masks[k] for k in ("od", "vessel", "he")}))
    batch = generator.synthesize(None, [1, 2, 4], seeds=[1, 2, 3], canvas=image.expand(3, -1, -1, -1))
    assert batch.grade.tolist() == [1, 2, 4]
    assert [record.mode for record in batch.records] == ["synthesize"] * 3
    assert set(MASKS) <= set(batch.masks)
    assert not any(bool(batch.masks[name][0].any()) for name in ("he", "ex", "se"))
    shown = torch.cat([batch.masks[name] for name in LESIONS], 1).flatten(1).amax(1)
    assert bool((shown > 0).all())
    assert torch.equal(batch.masks["vessel"][:1], (masks["vessel"] >= 0.5).float())
    nothing = generator.synthesize({**masks, "od": 0 * masks["od"]}, [2], seeds=[1], canvas=image)
    assert nothing.grade.tolist() == [0]
    assert torch.equal(nothing.image, image)
    assert "no optic disc" in nothing.records[0].options["refused"]
    healthy = generator.synthesize(masks, [0], seeds=[1], canvas=image)
    assert "grade 0 excludes" in healthy.records[0].options["refused"]


def test_requests_that_make_no_sense_are_told(phantom_bank: LesionBank) -> None:
    image, masks = phantom(2)
    generator = painting_generator(phantom_bank)

    def edit(images: Tensor = image, **options: Any) -> Any:
        return generator.edit(images, [2], **{"masks": masks, **options})

    own = {name: mask for name, mask in masks.items() if name != "fov"}
    for error, match, arguments in (
        (ImageValueError, "at least 128 px", {"images": image[..., ::2, ::2], "masks": {}}),
        (ImageValueError, "square", {"images": image[..., :100], "masks": {}}),
        (ImageValueError, "want \\(1, 3, H, W\\)", {"images": image.permute(0, 2, 3, 1)}),
        (ImageValueError, "in \\[0, 1\\]", {"images": 255 * image}),
        (ImageValueError, "retina|dark|constant", {"images": torch.zeros_like(image), "masks": own}),
        (ImageValueError, "no colour", {"images": image.mean(1, keepdim=True).expand(-1, 3, -1, -1), "masks": own}),
        (ImageValueError, "mask 'ex': shape", {"masks": {**masks, "ex": masks["ex"][..., :64, :64]}}),
        (ImageValueError, "no segmenter", {"masks": {"ex": masks["ex"]}}),
        (ValueError, "change='remove'", {"strength": -0.5}),
        (ValueError, "change 'more'", {"change": "more"}),
        (ValueError, "lesion 'nv'", {"lesion": "nv"}),
        (TypeError, "blend", {"blend": "delta"}),
    ):
        with pytest.raises(error, match=match):
            edit(**arguments)
    with pytest.raises(ValueError, match="canvas_grades: \\[2\\]"):
        generator.synthesize(masks, [3], seeds=[1], canvas=image, canvas_grades=2)
    with pytest.raises(ValueError, match="canvas: none came"):
        generator.synthesize(masks, [3], seeds=[1])
    with pytest.raises(ValueError, match="grades: none came"):
        generator.synthesize(masks, seeds=[1], canvas=image)
    with pytest.raises(UnsupportedModeError, match="no lesion bank"):
        painting_generator(None).edit(image, [2], masks=masks)


def test_both_painters_serve_one_interface(phantom_bank: LesionBank) -> None:
    """Untrained networks: what they draw need not show, but the way is the same."""
    torch.manual_seed(0)
    image, masks = phantom(3)
    hole = LesionPainterGenerator(LesionPainter(channels=(4, 8)))
    assert hole.painter is not None
    hole.equip(hole.painter, composer=MaskComposer(phantom_bank))
    ratio = DRGANGenerator(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False), image_size=SIDE)
    ratio.set_lesion_bank(phantom_bank)
    for generator in (hole, ratio):
        assert {"edit", "synthesize"} <= generator.modes
        batch = generator.edit(image, [3], seeds=[1], masks=masks, strength=[0.5])
        assert batch.image.shape == image.shape
        assert batch.records[0].options["change"] == "add"
        canvas = generator.synthesize(masks, [3], seeds=[1], canvas=image)
        assert canvas.image.shape == image.shape
    with pytest.raises(UnsupportedModeError, match="retina_lesion_painter"):
        ratio.edit(image, [3], change="remove", masks=masks)


def test_larger_photographs_keep_their_detail(phantom_bank: LesionBank) -> None:
    torch.manual_seed(0)
    image, masks = phantom(3)
    small = LesionPainterGenerator(LesionPainter(channels=(4, 8)), image_size=64)
    batch = small.edit(image, [3], lesion="he", change="remove", strength=0.5, masks=masks)
    same = (batch.image == image).all(1)
    assert 0.2 < float(same.float().mean()) < 1
    assert 0 <= float(batch.image.min()) <= float(batch.image.max()) <= 1
