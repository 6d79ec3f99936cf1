"""The one way of an edit: what is tried, refused and kept; and masks that change only where the edit is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_retina_gen.editing import EditRequest, first_accepted
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.editing.lesion_masks import edited_masks
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError
from monai_retina_gen.generators import GeneratedBatch, RetinaGenerator
from monai_retina_gen.transforms import GenerativeAugment, GenerativeAugmentd

SIDE = 8
NAMES = ("ma", "he", "ex", "se", "od", "vessel")


class Brighten:
    """Edits of a third party: they brighten by the strength, at pixels that the seed chooses; `se` cannot be edited."""

    def __init__(self, request: EditRequest, scale: float) -> None:
        self.request, self.scale, self.strengths, self.drawn = request, scale, request.strengths, 0
        self.refused = ["cannot edit se" if lesion == "se" else "" for lesion in request.lesions]

    def draw(self, rows: list[int], strengths: Tensor) -> tuple[Tensor, list[str]]:
        self.drawn += len(rows)
        where = torch.stack([self._where(self.request.seeds[row]) for row in rows])
        change = self.scale * strengths.view(-1, 1, 1, 1) * where
        return (self.request.images[rows] + change).clamp(0, 1), [""] * len(rows)

    def masks(self, images: Tensor, strengths: Tensor) -> Mapping[str, Tensor]:
        return self.request.masks

    def note(self, row: int) -> dict[str, Any]:
        return {"scale": self.scale}

    def _where(self, seed: int) -> Tensor:
        return (torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) > 0.5).float()


class ThirdParty(RetinaGenerator):
    modes = frozenset({"edit"})
    edit_options = frozenset({"scale"})
    image_size = SIDE

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity())

    def begin_edits(self, request: EditRequest, *, scale: float = 0.5, **options: Any) -> Brighten:
        return Brighten(request, scale)


class AtMost:
    """Refuses changes above a limit."""

    def __init__(self, limit: float) -> None:
        self.limit, self.groups = limit, list[Any]()

    def check(self, images: Tensor, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        self.groups += groups
        change = (images - originals).abs().amax((1, 2, 3))
        return GateVerdict(["" if c <= self.limit + 1e-6 else "too bright" for c in change], "AtMost")


def photographs(count: int) -> Tensor:
    return 0.4 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


# --- generators of someone else's -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    strengths=st.lists(st.floats(-1, 1, width=32, allow_subnormal=False), min_size=1, max_size=5),
    limit=st.floats(0.01, 0.6),
    tries=st.integers(1, 6),
    refuse=st.integers(0, 4),
)
def test_what_is_kept_passes_and_what_is_not_is_the_photograph(
    strengths: list[float], limit: float, tries: int, refuse: int
) -> None:
    images, gate = photographs(len(strengths)), AtMost(limit)
    lesions = ["se" if row == refuse else "ex" for row in range(len(strengths))]
    batch = ThirdParty().edit(
        images, [3] * len(images), lesion=lesions, strength=strengths, gate=gate, tries=tries,
        seeds=list(range(len(images))), groups=[f"eye {row}" for row in range(len(images))],
    )  # fmt: skip
    for row, record in enumerate(batch.records):
        used, reason = record.options["strength"], record.options.get("refused", "")
        change = float((batch.image[row] - images[row]).abs().max())
        assert change <= limit + 1e-6
        assert abs(used) <= abs(strengths[row]) + 1e-7
        assert used * strengths[row] >= 0
        assert record.label == ("unverified" if reason else "verified by AtMost")
        if reason:
            assert torch.equal(batch.image[row], images[row])
            assert used == 0
        alone = ThirdParty().edit(images[[row]], [3], lesion=lesions[row], strength=used, seeds=[row])
        assert torch.equal(alone.image[0], batch.image[row])  # the record holds the very strength
    assert f"eye {refuse}" not in gate.groups  # what cannot be drawn is not judged


def test_unknown_options_are_an_error_and_known_ones_arrive() -> None:
    augment: dict[str, Any] = {
        "generator": ThirdParty(), "mode": "edit", "prob": 1.0, "image_order": "CHW", "strength": (1, 1),
    }  # fmt: skip
    with pytest.raises(TypeError, match=r"unknown options \['step'\]; generator 'ThirdParty' has \['scale'\]"):
        GenerativeAugment(edit_options={"step": "mu"}, **augment)(photographs(1)[0], 3)
    image = photographs(1)[0]
    weak = GenerativeAugment(edit_options={"scale": 0.1}, **augment)(image, 3)
    assert float((torch.as_tensor(weak) - image).max()) == pytest.approx(0.1, abs=1e-6)


def test_a_generator_that_does_not_ask_its_gate_is_noticed() -> None:
    class Careless(ThirdParty):
        def edit(self, images: Any, grades: Any, **options: Any) -> GeneratedBatch:
            grade = self.check_grades(grades)
            return GeneratedBatch(images / 2, grade, [self.record("edit", g, 0) for g in grade.tolist()])

    augment: dict[str, Any] = {"generator": Careless(), "mode": "edit", "prob": 1.0, "image_order": "CHW"}
    assert float(GenerativeAugment(**augment)(torch.ones(3, 8, 8), 3).mean()) == 0.5
    with pytest.raises(ImageValueError, match="got a gate and returned an image"):
        GenerativeAugment(gate=AtMost(1.0), **augment)(torch.ones(3, 8, 8), 3)
    with pytest.raises(UnsupportedModeError, match="no mode 'edit'"):
        RetinaGenerator(torch.nn.Identity()).edit(torch.ones(1, 3, 8, 8), [3])


def test_a_mask_of_an_edited_lesion_must_not_be_left_behind() -> None:
    augment = GenerativeAugmentd(
        "image", generator=ThirdParty(), mode="edit", lesion="ex", prob=1.0, image_order="CHW", mask_keys=("he",)
    )
    item = {"image": photographs(1)[0], "grade": 3, "he": torch.ones(1, SIDE, SIDE)}
    assert torch.equal(augment(item)["he"], item["he"])
    with pytest.raises(ValueError, match=r"also holds the masks \['ex'\]"):
        augment({**item, "ex": torch.zeros(1, SIDE, SIDE)})


# --- masks ------------------------------------------------------------------------------------------------------------


def _mask(seed: int, rows: int) -> Tensor:
    return (torch.rand(rows, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) > 0.6).float()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    annotated=st.sets(st.sampled_from(NAMES)),
    lesions=st.lists(st.sets(st.sampled_from(NAMES[:4]), max_size=2), min_size=1, max_size=3),
    everything=st.booleans(),
)
def test_masks_change_for_edited_lesions_where_the_edit_is_and_nowhere_else(
    seed: int, annotated: set[str], lesions: list[set[str]], everything: bool
) -> None:
    """Against a plain loop over pixels: an annotation follows where the segmenter sees the lesion come or go."""
    rows = len(lesions)
    before = torch.rand(rows, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    after = torch.where(_mask(seed + 1, rows) > 0, 1 - before, before)
    for row, edited in enumerate(lesions):
        if not edited:
            after[row] = before[row]
    masks = {name: _mask(seed + 2 + i, rows) for i, name in enumerate(sorted(annotated))}

    def find(images: Tensor) -> dict[str, Tensor]:
        return {name: (images.mean(1, keepdim=True) * (i + 2)).frac() for i, name in enumerate(NAMES)}

    made = edited_masks(before, after, masks, [tuple(each) for each in lesions], find, all_masks=everything)
    assert set(made) == (set(NAMES) if everything else annotated)
    was, now = find(before), find(after)
    for name in annotated:
        wanted = masks[name].clone()
        for row, edited in enumerate(lesions):
            for y in range(SIDE):
                for x in range(SIDE):
                    old, new = (bool(seen[name][row, 0, y, x] >= 0.5) for seen in (was, now))
                    changed = bool((before[row, :, y, x] != after[row, :, y, x]).any())
                    if name in edited and changed and old != new:
                        wanted[row, 0, y, x] = float(new)
        assert torch.equal(made[name], wanted), name
    for name in set(made) - annotated:
        assert torch.equal(made[name], (now[name] >= 0.5).float())


def test_an_annotated_lesion_that_nobody_can_find_again() -> None:
    image, mask = torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 1, SIDE, SIDE)
    with pytest.raises(ImageValueError, match="ex would no longer fit the edited images"):
        edited_masks(image, image + 0.1, {"ex": mask, "he": mask}, [("ex",)], lambda images: {})
    kept = edited_masks(image, image, {"ex": mask}, [()], lambda images: {})  # refused: nothing was edited
    assert torch.equal(kept["ex"], mask)


# --- tries ------------------------------------------------------------------------------------------------------------


@given(needed=st.lists(st.integers(0, 6), max_size=8), tries=st.integers(1, 5))
def test_rows_are_tried_until_they_pass(needed: list[int], tries: int) -> None:
    """Row i passes at try `needed[i]`, if there is one, and is not asked again."""
    asked = [0] * len(needed)

    def attempt(rows: list[int], number: int) -> list[str]:
        for row in rows:
            asked[row] += 1
        return ["" if number >= needed[row] else f"no {number}" for row in rows]

    reasons = first_accepted(attempt, len(needed), tries=tries)
    assert reasons == ["" if n < tries else f"no {tries - 1}" for n in needed]
    assert asked == [min(n + 1, tries) for n in needed]
    with pytest.raises(ValueError, match="at least 1"):
        first_accepted(attempt, 1, tries=0)
