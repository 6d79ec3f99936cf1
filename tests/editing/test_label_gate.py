"""Limits against conformal prediction's guarantee, and the gate on images whose label is known."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_retina_gen.data.phantom import phantom_fundus
from monai_retina_gen.editing import GateLimits, LabelGate, joint_limits, label_limits
from monai_retina_gen.editing.gate_measures import (
    change_outside,
    expected_grade,
    grade_distance,
    grade_excess,
    lesion_neighbourhood,
    vessel_loss,
)
from monai_retina_gen.editing.planted_changes import erase_lesions, harmless_change, transplant_lesions
from monai_retina_gen.engines import FundusSegmenter
from monai_retina_gen.errors import BundleNotFoundError

LIMITS = GateLimits(0.1, {8: [0.8] * 5}, {8: [0.95] * 5}, 0.25, 0.5, 0.2, 0.01)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(9, 60), rate=st.floats(0.05, 0.5), seed=st.integers(0, 10**6))
def test_a_new_score_is_refused_at_the_stated_rate(n: int, rate: float, seed: int) -> None:
    """The rank of a new score among n + 1 is uniform: exchange every one of n + 1 for the new one and count."""
    scores = torch.rand(n + 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    refused = [float(scores[i]) > label_limits(torch.cat([scores[:i], scores[i + 1 :]]), rate)[0] for i in range(n + 1)]
    share = sum(refused) / (n + 1)
    assert share <= rate + 1e-9
    assert share >= rate - 1.0001 / (n + 1)  # and no lower than the number of photographs forces it to be


def test_several_statistics_together_refuse_a_new_photograph_at_about_the_stated_rate() -> None:
    generator = torch.Generator().manual_seed(0)
    severity, noise = torch.rand(3000, 1, generator=generator), torch.rand(3000, 2, generator=generator)
    statistics = severity + 0.3 * noise  # the two go together, as distance and excess do
    limits = torch.tensor(label_limits(statistics[:300], 0.1))
    assert float((statistics[300:] > limits).any(1).float().mean()) == pytest.approx(0.1, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(probabilities=st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda x: sum(x) > 0.1))
def test_distance_and_excess_of_a_label_by_hand(probabilities: list[float]) -> None:
    p = [x / sum(probabilities) for x in probabilities]
    mean = sum(grade * x for grade, x in enumerate(p))
    found = torch.tensor([p], dtype=torch.float64)
    assert grade_distance(found)[0].tolist() == pytest.approx([abs(mean - g) for g in range(len(p))])
    beyond = [max(sum(p[:g]), sum(p[g + 1 :])) for g in range(len(p))]
    assert grade_excess(found)[0].tolist() == pytest.approx(beyond, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(5, 80), k=st.integers(1, 4), rate=st.floats(0.05, 0.6), seed=st.integers(0, 10**6))
def test_joint_limits_hold_and_cannot_be_lower(n: int, k: int, rate: float, seed: int) -> None:
    statistics = torch.rand(n, k, generator=torch.Generator().manual_seed(seed))
    limits = joint_limits(statistics, rate)
    allowed = int(rate * n + 1e-9)
    assert int((statistics > limits).any(1).sum()) <= allowed
    ordered = statistics.sort(0).values
    rank = int((ordered[:, 0] == limits[0]).nonzero()[0])
    if rank:
        assert int((statistics > ordered[rank - 1]).any(1).sum()) > allowed


def test_limits_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="false_rejection=1"):
        GateLimits(1.0, {8: [0.1]}, {8: [0.1]}, 0, 0, 0, 0)
    with pytest.raises(ValueError, match=r"sides \[8\], excesses for \[16\]"):
        GateLimits(0.1, {8: [0.1]}, {16: [0.1]}, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="no limits of a gate"):
        GateLimits.from_dict({"distances": {}})
    with pytest.raises(ValueError, match="of an earlier version"):
        GateLimits.from_dict({"floors": {}})
    with pytest.raises(ValueError, match="grade 5"):
        LIMITS.of_label(8, 5)
    with pytest.raises(ValueError, match="want finite"):
        joint_limits(torch.full((3, 2), torch.nan), 0.1)


class ByRed(nn.Module):
    """Sure of the grade that the red channel codes; keeps the groups that it was asked about."""

    def forward(self, image: Tensor, groups: Sequence[str | None] | None) -> Tensor:
        self.groups = groups
        grade = image[:, 0].mean((1, 2)) * 4
        return torch.softmax(-2 * (grade[:, None] - torch.arange(5.0)).abs(), 1)


def images(*grades: float, side: int = 8) -> Tensor:
    made = torch.full((len(grades), 3, side, side), 0.5)
    made[:, 0] = (torch.tensor(grades) / 4)[:, None, None]
    return made


def test_samples_need_a_grade_near_their_label() -> None:
    gate = LabelGate(graders=ByRed(), limits=LIMITS)
    verdict = gate.check(images(2, 2, 3.9), [2, 4, 4])
    assert [bool(reason) for reason in verdict.reasons] == [False, True, False]
    far, beyond = verdict.reasons[1].split("; ")
    assert far == "the graders' expected grade is 2.00 away from 4, more than 0.80"
    assert beyond.startswith("the graders give the grades on one side of 4 a probability of 0.98")
    assert [m["grade_distance"] for m in verdict.measures[:2]] == pytest.approx([0, 2], abs=1e-5)
    assert verdict.judge == "ByRed"
    assert verdict.measures[0]["probability"] > verdict.measures[1]["probability"]


def test_edits_are_compared_with_their_photograph() -> None:
    graders = ByRed()
    gate = LabelGate(graders=graders, limits=LIMITS, segmenter=None)
    # the second moves towards its label, the third away from it
    verdict = gate.check(images(2.0, 2.0, 3.0), [2, 2, 2], images(2.05, 3.0, 2.0), ["a", "b", "c"])
    assert verdict.reasons[:2] == ["", ""]
    assert "probability of grade 2 falls" in verdict.reasons[2]
    assert "expected grade moves" in verdict.reasons[2]
    assert graders.groups == ["a", "b", "c"]


def test_edits_of_large_photographs_are_compared_without_their_noise() -> None:
    sizes: list[int] = []

    class Seen(ByRed):
        def forward(self, image: Tensor, groups: Sequence[str | None] | None) -> Tensor:
            sizes.append(image.shape[-1])
            return super().forward(image, groups)

    gate = LabelGate(graders=Seen(), limits=LIMITS, segmenter=None)
    large = images(2.0, side=256)
    gate.check(large, [2])
    assert gate.check(large, [2], large).reasons == [""]
    assert sizes == [256, 128, 128]


class RedIsVessel(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        lesion, vessel = image[:, [1]] > 0.7, image[:, [0]] > 0.7
        return (torch.cat([lesion, vessel], 1).float() - 0.5) * 20


def test_vessels_and_surroundings_of_an_edit() -> None:
    segmenter = FundusSegmenter(RedIsVessel(), structures=["ex", "vessel"], image_size=64)
    flat = type("Flat", (nn.Module,), {"forward": lambda self, image, groups: torch.full((len(image), 5), 0.2)})()
    gate = LabelGate(graders=flat, limits=LIMITS, segmenter=segmenter)
    before = torch.full((1, 3, 64, 64), 0.5)
    before[:, 0, 30:33] = 0.9  # a vessel
    lesion = before.clone()
    lesion[:, 1, 10:14, 10:14] = 0.9  # a new exudate, known to the segmenter
    thinner, brighter = before.clone(), before.clone()
    thinner[:, 0, 31:33] = 0.5
    brighter[:, 2] += 0.1
    assert gate.check(lesion, [2], before).reasons == [""]
    assert gate.check(thinner, [2], before).reasons[0].startswith("the vessels agree to 0.50")
    assert "away from lesions" in gate.check(brighter, [2], before).reasons[0]
    small = gate.check(thinner[..., :16, :16], [2], before[..., :16, :16])  # too small to see vessels on
    assert "vessel_loss" not in small.measures[0]


def test_measures_in_closed_form() -> None:
    assert float(expected_grade(torch.tensor([[0.1, 0, 0, 0, 0.9]]))[0]) == pytest.approx(3.6)
    a, b = torch.zeros(2, 1, 10, 10).bool(), torch.zeros(2, 1, 10, 10).bool()
    a[0, 0, :4], b[0, 0, 2:6] = True, True
    torch.testing.assert_close(vessel_loss(a, b), torch.tensor([0.5, 0.0]))
    wide = lesion_neighbourhood({"ex": a[:1], "od": torch.ones(1, 1, 10, 10).bool()})
    assert int(wide.sum()) == 40  # the disc is no lesion, and 3 % of 10 pixels is no neighbourhood
    before = torch.full((1, 3, 10, 10), 0.5)
    assert float(change_outside(before, before + 0.1, wide)) == pytest.approx(0.1)
    assert float(change_outside(before, torch.where(wide, before + 0.4, before), wide)) == 0


def test_planted_lesions_lie_where_they_are_said_to() -> None:
    eye, other = phantom_fundus(0, size=128, grade=0), phantom_fundus(1, size=128, grade=3)
    mask = torch.stack([torch.as_tensor(other.masks[name]) for name in ("ma", "he", "ex", "se")]).amax(0)
    planted = transplant_lesions(eye.image, other.image, mask)
    change = (planted - eye.image).abs().amax(0)
    assert float(change[mask[0] > 0.9].mean()) > 0.03
    assert float(change[nn.functional.max_pool2d(mask[None], 15, 1, 7)[0, 0] == 0].max()) < 0.01
    erased = erase_lesions(other.image, mask)
    left = (erased - other.image).abs().amax(0)
    assert float(left[mask[0] > 0.9].mean()) > 0.03
    assert float(left[nn.functional.max_pool2d(mask[None], 15, 1, 7)[0, 0] == 0].max()) < 0.01
    harmless = harmless_change(eye.image, 0)
    assert torch.equal(harmless, harmless_change(eye.image, 0))
    assert not torch.equal(harmless, harmless_change(eye.image, 1))


def test_pickles_without_networks() -> None:
    gate = LabelGate(graders="no_such_bundle:cross_fitted")
    assert len(pickle.dumps(gate)) < 2000
    assert copy.deepcopy(gate) is gate
    with pytest.raises(BundleNotFoundError, match="no_such_bundle"):
        gate.check(images(1), [1])
    with pytest.raises(ValueError, match="limits are needed"):
        LabelGate(graders=ByRed())
