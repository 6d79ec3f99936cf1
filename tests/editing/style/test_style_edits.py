"""Edits of photographs: styles, start layers, blends, strengths under a gate, refusals; and the generator's mode."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.editing import (
    ChannelProbe,
    Directions,
    EditRequest,
    Inversion,
    PendingStyleEdits,
    StyleRange,
    StyleShift,
    StyleSpaceEditor,
    blend_delta,
    blend_ratio,
    change_mask,
    choose_directions,
    edit_request,
    load_directions,
    strength_for_area,
    strongest_accepted,
)
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.editing.style.blend import edit_neighbourhood
from monai_retina_gen.editing.style.contribution_scores import ScoreTable
from monai_retina_gen.editing.style.score_presets import resolve_preset
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError, WeightsError
from monai_retina_gen.generators import StyleGAN3Generator, load_generator, regenerate
from monai_retina_gen.networks import FundusGrader, StyleEncoder, StyleGAN3
from monai_retina_gen.weights import save_state, sha256_file
from monai_retina_gen.weights.state_files import save_pinned

TINY = {"image_size": 32, "z_dim": 8, "w_dim": 8, "num_classes": 5, "channel_base": 256, "channel_max": 8}
SIDE = 48
STRENGTHS = st.floats(-1, 1, width=32, allow_subnormal=False)  # halves of a subnormal number may be 0


def tiny() -> StyleGAN3:
    torch.manual_seed(0)
    return StyleGAN3(**TINY).eval().requires_grad_(False)


class KnownStyles:
    """An inverter for photographs whose styles are known: those of the latents 0, 1, 2..."""

    def __init__(self, network: StyleGAN3, distances: tuple[float, ...] = ()) -> None:
        self.network, self.distances, self.calls = network, distances, 0

    def styles(self, count: int) -> Tensor:
        latent = torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(i)) for i in range(count)])
        ws = self.network.mapping(latent, torch.full((count,), 3))
        return self.network.style_space.flatten(self.network.styles(ws))

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        self.calls += 1
        styles = self.styles(len(images))
        image = self.network.synthesis.run(self.network.style_space.split(styles))
        distance = torch.tensor([*self.distances, *[0.1] * len(images)][: len(images)])
        return Inversion(styles, ((image + 1) / 2).clamp(0, 1), distance)


class Masks:
    """Bright pixels are exudates, dark ones haemorrhages."""

    side = 32

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return {"ex": images[:, :1], "he": 1 - images[:, :1]}


class Limit:
    """A gate that refuses changes of more than a limit."""

    def __init__(self, largest: float) -> None:
        self.largest, self.seen = largest, 0

    def check(self, images: Tensor, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        self.seen += len(images)
        change = (images - originals).abs().amax((1, 2, 3))
        return GateVerdict(["" if c <= self.largest else f"changes by {c:.3f}" for c in change], "Limit")


@pytest.fixture(scope="module")
def network() -> StyleGAN3:
    return tiny()


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    axis = torch.linspace(-1, 1, SIDE)
    inside = ((axis[:, None] ** 2 + axis**2) < 0.9).float()
    colour = torch.tensor([0.6, 0.3, 0.1]).view(3, 1, 1)
    texture = torch.rand(6, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return (colour + 0.1 * texture) * inside


def make_directions(network: StyleGAN3, step: str = "sigma", scale: float = 1.0) -> Directions:
    size = network.style_space.size
    vectors = {"ex": torch.zeros(size), "he": torch.zeros(size), "ma": torch.zeros(size)}
    vectors["ex"][network.style_space.index(9, 2)] = 1.0
    vectors["he"][network.style_space.index(6, 1)] = -1.0
    vectors["ma"][network.style_space.index(6, 1)] = 0.5
    one = torch.ones(size)
    channels = torch.tensor([network.style_space.index(6, 1), network.style_space.index(9, 2)])
    effects = {"ex": torch.tensor([0.2, 1.0]), "he": torch.tensor([-1.0, 0.1])}
    vectors = {name: scale * vector for name, vector in vectors.items()}
    return Directions(vectors, step, 0.5 * one, one, -50 * one, 50 * one, channels, effects, {"ex": 1.0, "he": 1.0})


@pytest.fixture
def generator(network: StyleGAN3) -> StyleGAN3Generator:
    made = StyleGAN3Generator(network)
    made.equip(
        inverter=KnownStyles(network, (0.1, 0.1, 9.0)),
        directions=make_directions(network, scale=8.0),
        distance_limit=1.0,
    )
    return made


# --- style edits ------------------------------------------------------------------------------------------------------


def test_units_of_a_step(network: StyleGAN3) -> None:
    space, styles = network.style_space, KnownStyles(network).styles(2)
    k = space.index(9, 2)
    change = {}
    for step in ("sigma", "mu", "max"):
        edit = StyleShift(make_directions(network, step), space)
        new = edit(styles, [("ex",)] * 2, torch.tensor([0.5, -0.5]))
        assert torch.equal((new != styles).nonzero(), torch.tensor([[0, k], [1, k]]))
        change[step] = (new - styles)[:, k]
    torch.testing.assert_close(change["sigma"], torch.tensor([0.5, -0.5]))
    torch.testing.assert_close(change["mu"], torch.tensor([0.5, -0.5]))
    largest = space.split(styles)[9].amax(1)
    torch.testing.assert_close(change["max"], torch.stack([0.5 * largest[0], -0.5 * largest[1]]))


def test_another_unit_moves_the_main_channel_alone(network: StyleGAN3) -> None:
    space, d = network.style_space, make_directions(network)
    vectors = {"ex": d.vectors["ex"].clone()}
    vectors["ex"][3] = 0.2
    joined = Directions(vectors, "sigma", d.mean, d.std, d.low, d.high, d.channels, d.effects, d.spread)
    styles = KnownStyles(network).styles(1)
    change = StyleShift(joined, space, step="mu")(styles, [("ex",)], torch.tensor([0.6])) - styles
    wanted = torch.zeros(1, space.size)
    wanted[0, space.index(9, 2)] = 0.6 * 0.5  # Eq. 6: alpha * mu
    torch.testing.assert_close(change, wanted, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="mu, sigma, max"):
        StyleShift(joined, space, step="pixels")


def test_a_step_stays_where_samples_lie_and_outliers_may_come_back(network: StyleGAN3) -> None:
    d = make_directions(network)
    k = network.style_space.index(9, 2)
    edit = StyleShift(
        Directions(d.vectors, "sigma", d.mean, d.std, -d.std, d.std, d.channels, d.effects, d.spread),
        network.style_space,
    )
    styles = torch.zeros(3, network.style_space.size)
    styles[:, k] = torch.tensor([0.8, 3.0, 3.0])
    new = edit(styles, [("ex",)] * 3, torch.tensor([1.0, 1.0, -1.0]))
    torch.testing.assert_close(new[:, k], torch.tensor([1.0, 3.0, 2.0]))


def test_several_lesions_by_least_squares(network: StyleGAN3) -> None:
    d = make_directions(network)
    vector = StyleShift(d, network.style_space).vector(("ex", "he"))
    steps = vector[d.channels]
    # At strength 1 alone: exudates by 1.0 (channel 9:2 by 1), haemorrhages by 1.0 (channel 6:1 by -1). Together both.
    reached = torch.stack([d.effects["ex"], d.effects["he"]]) @ steps
    torch.testing.assert_close(reached, torch.tensor([1.0, 1.0]))
    assert not torch.allclose(vector, d.vectors["ex"] + d.vectors["he"])  # which would change both by 0.8 and 1.1


# --- blends and strengths ---------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 70), st.integers(0, 1000))
def test_blends_leave_everything_outside_the_mask_bit_for_bit(side: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    photo, before, after = (torch.rand(1, 3, s, s, generator=random) for s in (side, 16, 16))
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 6:10, 6:10] = 1
    reach = torch.nn.functional.interpolate(torch.nn.functional.max_pool2d(mask, 3, 1, 1), (side, side), mode="nearest")
    outside = (reach == 0).expand(-1, 3, -1, -1)
    for blend in (blend_delta, blend_ratio):
        blended = blend(photo, before, after, mask)
        assert torch.equal(blended[outside], photo[outside])
        assert bool(((blended >= 0) & (blended <= 1)).all())
        assert not torch.equal(blended, photo)
        assert torch.equal(blend(photo, before, before, mask), photo)


def test_neighbourhoods_of_a_batch_are_those_of_its_rows() -> None:
    """Rows of other lesions, of masks at other sides, of lesions that no mask knows, or that are nowhere seen."""
    random = torch.Generator().manual_seed(3)
    before, after = (0.3 + 0.5 * torch.rand(5, 3, 32, 32, generator=random) for _ in range(2))
    soft = torch.rand(5, 3, 64, 64, generator=random) ** 8
    soft[2] = 0
    photographs = {"ex": soft[:, :1], "he": soft[:, 1:2], "od": soft[:, 2:]}
    own = {"ex": soft[:, 1:2, ::2, ::2]}
    lesions = [("ex",), ("he",), ("ex", "he"), ("se",), ("ex", "he")]
    for known in ({}, {"ex": 0.9 * own["ex"]}):
        together = edit_neighbourhood(before, after, lesions, [photographs, own], known)
        for i in range(5):
            alone = [{n: m[[i]] for n, m in each.items()} for each in (photographs, own, known)]
            single = edit_neighbourhood(before[[i]], after[[i]], [lesions[i]], alone[:2], alone[2])
            assert torch.equal(together[[i]], single)
        assert torch.equal(together[[3]], change_mask(before[[3]], after[[3]]))  # of a lesion that none knows
        disc = torch.nn.functional.adaptive_max_pool2d(photographs["od"][[0, 1, 4]], 32) > 0.5
        assert not together[[0, 1, 4]][disc].any()
    nowhere = {"ex": torch.zeros(1, 1, 32, 32)}
    assert not edit_neighbourhood(before[:1], after[:1], [("ex",)], [nowhere], nowhere).any()
    assert torch.equal(
        edit_neighbourhood(before[:1], after[:1], [("ex",)], [nowhere], {}), change_mask(before[:1], after[:1])
    )


def test_delta_at_the_generators_own_side_is_the_formula() -> None:
    x, before, after = (torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(i)) * 0.3 for i in range(3))
    mask = torch.full((1, 1, 8, 8), 0.5)
    wanted = (x + 0.5 * (after - before)).clamp(0, 1)
    torch.testing.assert_close(blend_delta(x, before, after, mask), wanted)


def test_a_ratio_at_the_generators_own_side_is_the_formula() -> None:
    x, before, after = (torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(i)) * 0.3 for i in range(3))
    ratio = ((after + 0.03) / (before + 0.03)).clamp(math.exp(-1.2), math.exp(1.2))
    wanted = ((x + 0.03) * ratio.sqrt() - 0.03).clamp(0, 1)
    torch.testing.assert_close(blend_ratio(x, before, after, torch.full((1, 1, 8, 8), 0.5)), wanted)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(STRENGTHS, st.floats(0, 1)), min_size=1, max_size=6), st.integers(1, 8))
def test_bisection_finds_the_limit(cases: list[tuple[float, float]], tries: int) -> None:
    strengths, limits = (torch.tensor(column) for column in zip(*cases, strict=True))

    def check(rows: list[int], tried: Tensor) -> list[str]:
        return ["" if abs(float(s)) <= float(limits[r]) else "too much" for r, s in zip(rows, tried, strict=True)]

    found, reasons = strongest_accepted(check, strengths, tries=tries)
    for s, limit, f, reason in zip(strengths, limits, found, reasons, strict=True):
        if abs(float(s)) <= float(limit):
            assert float(f) == float(s)
            assert reason == ""
        else:
            step = abs(float(s)) * 2.0 ** (1 - tries)
            assert float(limit) - step - 1e-6 <= abs(float(f)) <= float(limit) + 1e-6
            assert (reason == "") == (float(f) != 0)


def test_strength_for_an_area_that_cannot_be_reached() -> None:
    torch.testing.assert_close(
        strength_for_area(lambda s: 1 + 0.1 * s, torch.tensor([0.5, -0.5])), torch.tensor([1.0, -1.0])
    )
    with pytest.raises(ValueError, match="by its whole"):
        strength_for_area(lambda s: s, torch.tensor([-1.5]))


# --- the editor -------------------------------------------------------------------------------------------------------


def equipped(network: StyleGAN3, masker: Any = None) -> StyleGAN3Generator:
    made = StyleGAN3Generator(network)
    made.equip(inverter=KnownStyles(network), directions=make_directions(network, scale=8.0), masker=masker)
    return made


def test_only_the_layers_that_follow_run_again(
    network: StyleGAN3, photographs: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = equipped(network)
    options: dict[str, Any] = {"lesion": ["ex", "he"], "strength": 0.5}
    first = made.edit(photographs[:2], [3, 3], **options)
    ran: list[tuple[int, int]] = []
    whole = network.synthesis.run

    def watched(styles: Any, **options: Any) -> Tensor:
        ran.append((int(options.get("start_layer", 0)), len(styles[0])))
        return whole(styles, **options)

    monkeypatch.setattr(network.synthesis, "run", watched)
    again = made.edit(photographs[:2], [3, 3], **options)
    assert sorted(ran) == [(6, 1), (9, 1)]  # no inversion, no layer before the edited one
    assert made.inverter.calls == 1  # type: ignore[union-attr]
    assert torch.equal(first.image, again.image)


def test_partial_runs_equal_whole_ones(network: StyleGAN3, photographs: Tensor) -> None:
    inverter = KnownStyles(network)
    editor = StyleSpaceEditor(network, inverter, make_directions(network, scale=8.0))
    inverted = editor.photographs(photographs[:3], torch.tensor([3, 3, 3]))
    shift = StyleShift(editor.directions, network.style_space)
    lesions, strengths = [("ex",), ("he",), ("ex", "he")], torch.tensor([0.5, -1.0, 0.3])
    new = shift(inverter.styles(3), lesions, strengths)
    whole = (network.synthesis.run(network.style_space.split(new)) + 1) / 2
    torch.testing.assert_close(
        editor.generated(inverted, shift, lesions, strengths), whole.clamp(0, 1), atol=1e-5, rtol=0
    )


def test_strength_0_changes_nothing(network: StyleGAN3, photographs: Tensor) -> None:
    batch = equipped(network, Masks()).edit(photographs, [3] * 6, lesion="ex", strength=0.0)
    assert torch.equal(batch.image, photographs)


def test_replace_is_the_generators_image_and_is_not_enlarged_unasked(network: StyleGAN3, photographs: Tensor) -> None:
    made, small = equipped(network), torch.nn.functional.interpolate(photographs[:1], (32, 32), mode="area")
    inverted = made.editor.photographs(small, torch.tensor([3]))
    shift = StyleShift(made.editor.directions, network.style_space)
    generated = made.editor.generated(inverted, shift, [("ex",)], torch.tensor([0.5]))
    batch = made.edit(small, [3], lesion="ex", strength=0.5, blend="replace")
    torch.testing.assert_close(batch.image, generated)
    with pytest.raises(ImageValueError, match="48 px are larger than the generator's 32 px"):
        made.edit(photographs[:1], [3], lesion="ex", blend="replace")
    large = made.edit(photographs[:1], [3], lesion="ex", strength=0.5, blend="replace", allow_upsampling=True)
    wanted = torch.nn.functional.interpolate(generated, (SIDE, SIDE), mode="bilinear").clamp(0, 1)
    torch.testing.assert_close(large.image, wanted)
    assert large.records[0].options["allow_upsampling"] is True


def test_area_changes_are_reached(network: StyleGAN3, photographs: Tensor) -> None:
    editor = StyleSpaceEditor(network, KnownStyles(network), make_directions(network, scale=8.0), masker=Masks())
    request = EditRequest.of(photographs[:2], torch.tensor([3, 3]), lesion="ex")
    wanted = torch.tensor([0.005, -0.005])
    edits = PendingStyleEdits(editor, request, area_change=wanted)
    found, inverted = edits.strengths, editor.photographs(request.images, request.grades)
    images = [editor.generated(inverted, edits.shift, [("ex",)] * 2, s) for s in (found, 0 * found)]
    areas = [editor.masks(each)["ex"].sum((1, 2, 3)) for each in images]
    reached = areas[0] / areas[1] - 1
    free = found.abs() < 1
    assert bool(free.any())
    torch.testing.assert_close(reached[free], wanted[free], atol=2e-3, rtol=0)


def test_the_gate_sets_the_strength(network: StyleGAN3, photographs: Tensor) -> None:
    made = equipped(network)
    done = made.edit(photographs[:3], [3, 3, 3], lesion="ex", strength=1.0, gate=Limit(0.01), tries=6)
    change = (done.image - photographs[:3]).abs().amax((1, 2, 3))
    strength = torch.tensor([record.options["strength"] for record in done.records])
    kept = torch.tensor(["refused" not in record.options for record in done.records])
    assert bool((change <= 0.01).all())
    assert {record.label for record in done.records if "refused" not in record.options} == {"verified by Limit"}
    assert bool((strength[kept] > 0).all())
    assert bool((strength[~kept] == 0).all())
    assert bool((change[kept] > 0.004).any())  # not weaker than half of what is allowed
    nothing = made.edit(photographs[:1], [3], lesion="ex", strength=1.0, gate=Limit(-1.0), tries=3)
    assert "changes by" in nothing.records[0].options["refused"]
    assert torch.equal(nothing.image, photographs[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., :30], "square photographs"),
        (lambda x: x[..., :16, :16], "at least 32 px"),
        (torch.zeros_like, "no retina"),
        (lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1), "no colour|no retina"),
    ],
)
def test_photographs_that_are_none(
    network: StyleGAN3, photographs: Tensor, change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(ImageValueError, match=message):
        equipped(network).edit(change(photographs[:1]), [3], lesion="ex")


def test_only_doubtful_photographs_are_searched_for_a_retina(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cropped retina is told by colours and dark corners; what is none is still found out, wherever it stands."""
    eyes = torch.stack([phantom_fundus(i, size=96, grade=i).image for i in range(3)])
    searched = []
    search = edit_request.find_field_of_view
    monkeypatch.setattr(edit_request, "find_field_of_view", lambda image: (searched.append(image), search(image)))
    edit_request.check_retinas(eyes)
    assert not searched
    with pytest.raises(ImageValueError, match="no retina"):
        edit_request.check_retinas(torch.stack([eyes[0], torch.zeros(3, 96, 96)]))
    orange = torch.tensor([0.6, 0.3, 0.1]).view(3, 1, 1).expand(3, 96, 96)
    with pytest.raises(ImageValueError, match="no retina"):  # no dark corners, and no texture
        edit_request.check_retinas(orange[None])
    with pytest.raises(ImageValueError, match=r"no colour|no retina"):
        edit_request.check_retinas(torch.stack([eyes[0], eyes[1].mean(0, keepdim=True).expand(3, -1, -1)]))
    assert len(searched) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, "in \\[-1, 1\\]"),
        ({"strength": float("nan")}, "in \\[-1, 1\\]"),
        ({"blend": "paste"}, "delta, ratio, replace"),
        ({"lesion": ""}, "lesion ''"),
        ({"tries": 0, "gate": Limit(1.0)}, "at least 1"),
        ({"seeds": [1, 2]}, "seeds: 2 came for 1 images"),
        ({"masks": {"ex": torch.zeros(1, 1, 32, 32)}}, "crop masks together"),
    ],
)
def test_bad_requests(network: StyleGAN3, photographs: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equipped(network).edit(photographs[:1], [3], **{"lesion": "ex", **options})


# --- the generator's mode ---------------------------------------------------------------------------------------------


def test_modes_follow_the_equipment(network: StyleGAN3) -> None:
    made = StyleGAN3Generator(network)
    assert made.modes == {"sample"}
    with pytest.raises(UnsupportedModeError, match="no mode 'edit'"):
        made.edit(torch.zeros(1, 3, 32, 32), [3])
    assert made.equip(inverter=KnownStyles(network)).modes == {"sample", "reconstruct"}
    made.equip(inverter=KnownStyles(network), directions=make_directions(network, scale=8.0))
    assert made.modes == {"sample", "reconstruct", "edit"}
    assert StyleGAN3Generator.modes == {"sample"}


def test_grades_and_bad_inversions_are_refused_with_a_reason(
    generator: StyleGAN3Generator, photographs: Tensor
) -> None:
    batch = generator.edit(photographs, [3, 1, 4, 0, 1, 2], lesion=["ex", "ma", "ex", "ex", "he", "he"], strength=0.5)
    reasons = [record.options.get("refused", "") for record in batch.records]
    changed = [not torch.equal(a, b) for a, b in zip(batch.image, photographs, strict=True)]
    assert changed == [not reason for reason in reasons] == [True, True, False, False, False, True]
    assert "does not know this eye" in reasons[2]  # third of those that reach the inverter: distance 9
    assert "grade 0 excludes ex" in reasons[3]
    assert "grade 1 excludes he" in reasons[4]
    allowed = generator.edit(photographs[:1], [0], lesion="ex", strength=0.5, allow_excluded=True)
    assert "refused" not in allowed.records[0].options


def test_masks_of_the_edited_image(network: StyleGAN3, photographs: Tensor) -> None:
    made = StyleGAN3Generator(network)
    made.equip(inverter=KnownStyles(network), directions=make_directions(network, scale=8.0), masker=Masks())
    batch = made.edit(photographs[:2], [3, 3], lesion="ex", strength=1.0, with_masks=True)
    assert torch.equal(batch.masks["ex"], (batch.image[:, :1] >= 0.5).float())
    assert made.edit(photographs[:1], [3], lesion="ex").masks == {}


def test_an_edit_that_shows_nothing_is_refused(network: StyleGAN3, photographs: Tensor) -> None:
    """A segmenter that knows the network's images and finds the lesion in none: nothing can grow or shrink there."""

    class Nothing(Masks):
        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            return {"ex": torch.zeros_like(images[:, :1])}

    made = StyleGAN3Generator(network)
    made.equip(inverter=KnownStyles(network), directions=make_directions(network, scale=8.0), masker=Nothing())
    batch = made.edit(photographs[:1], [3], lesion="ex", strength=1.0)
    assert torch.equal(batch.image, photographs[:1])
    assert "no such lesion in this eye" in str(batch.records[0].options["refused"])
    assert "refused" not in made.edit(photographs[:1], [3], lesion="ex", strength=0.0).records[0].options


def test_large_photographs_have_a_masker_of_their_own(network: StyleGAN3, photographs: Tensor) -> None:
    """The network's images are too small for a segmenter of photographs; small photographs are, too."""

    class Large(Masks):
        side = 4 * SIDE

        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            return {"se": torch.ones_like(images[:, :1])}

    made = StyleGAN3Generator(network)
    inverter, directions = KnownStyles(network), make_directions(network, scale=8.0)
    made.equip(inverter=inverter, directions=directions, masker=Masks(), photograph_masker=Large())
    large = torch.nn.functional.interpolate(photographs[:1], scale_factor=2.0)
    assert set(made.edit(large, [3], lesion="ex", with_masks=True).masks) == {"se"}
    assert set(made.edit(photographs[:1], [3], lesion="ex", with_masks=True).masks) == {"ex", "he"}


def test_bad_arguments(generator: StyleGAN3Generator, photographs: Tensor) -> None:
    with pytest.raises(ValueError, match="'irma'"):
        generator.edit(photographs[:1], [3], lesion="irma")
    with pytest.raises(ValueError, match="3 came for 2 images"):
        generator.edit(photographs[:2], [3, 3], lesion="ex", strength=[0.1, 0.2, 0.3])
    with pytest.raises(TypeError, match="unknown options"):
        generator.edit(photographs[:1], [3], colour=1)
    with pytest.raises(ImageValueError, match="for 2 grades"):
        generator.edit(photographs[:1], [3, 3])


def test_an_edit_is_made_again_from_its_record(
    network: StyleGAN3, photographs: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path, network)
    made = load_generator(bundle)
    assert isinstance(made, StyleGAN3Generator)
    assert made.directions is not None
    assert made.modes == {"sample"}
    inverter = KnownStyles(network)
    monkeypatch.setattr(
        StyleGAN3Generator, "load_parts", lambda self, *a: self.equip(inverter=inverter, directions=made.directions)
    )
    gate = Limit(0.02)
    batch = load_generator(bundle).edit(
        photographs[:1], [3], lesion="ex+he", strength=-0.9, gate=gate, sources=["a.png"]
    )
    record = batch.records[0]
    assert (record.source, record.options["lesion"], record.label) == ("a.png", "ex+he", "verified by Limit")
    again = regenerate(record, source=photographs[0], bundle=bundle)
    assert torch.equal(again.image, batch.image)  # the record holds the very strength
    assert again.records == [replace(record, label="unverified")]
    with pytest.raises(ValueError, match="needs its photograph"):
        regenerate(record, bundle=bundle)


def test_a_refused_edit_and_one_with_masks_are_made_again(
    network: StyleGAN3, photographs: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, directions = make_bundle(tmp_path, network), make_directions(network, scale=8.0)

    class Blind(Masks):
        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            return {"ex": torch.zeros_like(images[:, :1])}

    def equip(self: StyleGAN3Generator, *a: Any) -> None:
        self.equip(inverter=KnownStyles(network), directions=directions, masker=Blind())

    monkeypatch.setattr(StyleGAN3Generator, "load_parts", equip)
    generator, masks = load_generator(bundle), {"ex": torch.zeros(1, 1, SIDE, SIDE)}
    refused = generator.edit(photographs[:1], [3], lesion="ex", gate=Limit(-1.0)).records[0]
    again = regenerate(refused, source=photographs[0], bundle=bundle)
    assert torch.equal(again.image, photographs[:1])
    assert again.records == [refused]
    masks["ex"][..., 10:40, 10:40] = 1  # the segmenter is blind: only the annotation says where the lesion is
    batch = generator.edit(photographs[:1], [3], lesion="ex", masks=masks)
    record = batch.records[0]
    assert not torch.equal(batch.image, photographs[:1])
    own = {name: mask[0] for name, mask in masks.items()}
    assert torch.equal(regenerate(record, source=photographs[0], masks=own, bundle=bundle).image, batch.image)
    with pytest.raises(ValueError, match="was made with \\['ex'\\]"):
        regenerate(record, source=photographs[0], bundle=bundle)


def make_bundle(folder: Path, network: StyleGAN3) -> Path:
    bundle = folder / "tiny_stylegan3"
    (bundle / "configs").mkdir(parents=True)
    save_state(network.state_dict(), bundle / "models" / "model.pt")
    sha = sha256_file(bundle / "models" / "model.pt")
    config = {
        "network_def": {"_target_": "monai_retina_gen.networks.StyleGAN3", **TINY},
        "generator": {"_target_": "monai_retina_gen.generators.StyleGAN3Generator", "network": "@network_def"},
    }
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    pins = {"models/model.pt": {"sha256": sha}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "0.1", "weights": pins}))
    save_pinned(make_directions(network, scale=8.0).state(), bundle, "models/directions.pt", of=sha)
    return bundle


def test_directions_survive_the_file_and_belong_to_their_weights(network: StyleGAN3, tmp_path: Path) -> None:
    bundle, wanted = make_bundle(tmp_path, network), make_directions(network, scale=8.0)
    sha = sha256_file(bundle / "models" / "model.pt")
    found = load_directions(bundle, of=sha)
    assert found.step == wanted.step
    assert found.lesions == wanted.lesions
    for name, value in wanted.state().items():
        assert torch.equal(found.state()[name], value)
    with pytest.raises(WeightsError, match="belongs to the weights"):
        load_directions(bundle, of="0" * 64)
    (bundle / "models" / "directions.pt").write_bytes(b"no")
    with pytest.raises(WeightsError, match="sha256"):
        load_directions(bundle, of=sha)


# --- choosing directions ----------------------------------------------------------------------------------------------


def test_the_planted_channel_is_found(network: StyleGAN3) -> None:
    """With masks that are one channel's own change, that channel is the direction, with the sign of more lesion."""
    space, styles = network.style_space, KnownStyles(network).styles(8)
    planted = space.index(10, 3)
    step = torch.zeros(space.size)
    step[planted] = 1.0
    before, after = (((network.synthesis.run(space.split(styles + s * step)) + 1) / 2).clamp(0, 1) for s in (0.0, -0.5))
    where = (after - before).mean((0, 1), keepdim=True)
    where = where / where.abs().max()

    class Along:
        side = 32

        def __call__(self, images: Tensor) -> dict[str, Tensor]:  # grows where stepping DOWN brightens
            amount = ((images - 0.5) * where).sum((1, 2, 3), keepdim=True)
            return {"ex": (0.5 + 0.1 * amount).clamp(0, 1) * (where.abs() > 0.3)}

    probe = ChannelProbe(network, styles, Along(), ["ex"])
    scores = torch.zeros(2, space.size)
    scores[0, planted], scores[0, planted - 1], scores[0, 40] = 0.9, 1.0, 0.8
    table = ScoreTable(("ex", "background"), scores, scores.abs(), {"ex": 8}, {"ex": 0})
    preset = resolve_preset("robust")
    chosen, how = choose_directions(table, ["ex"], preset, space, StyleRange.of(styles), probe)
    assert planted in how[0].candidates
    effect = probe.measure(chosen.vectors["ex"])
    assert effect.change["ex"] > 0
    assert effect.consistency["ex"] > 0.7
    main = chosen.vectors["ex"][how[0].channel]
    assert how[0].channel != planted or float(main) < 0
    one_spread = effect.change["ex"] / probe.spread()["ex"]
    reach = StyleRange.of(styles).reach * StyleRange.of(styles).std
    at_the_end = float((chosen.vectors["ex"].abs() / reach.clamp(min=1e-12)).max()) > 0.999
    assert one_spread == pytest.approx(1.0, rel=0.2) or (at_the_end and one_spread < 1.0)


def test_finite_differences_are_central(network: StyleGAN3) -> None:
    styles, space = KnownStyles(network).styles(3), network.style_space
    probe = ChannelProbe(network, styles, Masks(), ["ex"])
    step = torch.zeros(space.size)
    step[space.index(12, 1)] = 0.2
    images = [((network.synthesis.run(space.split(styles + s * step)) + 1) / 2).clamp(0, 1) for s in (1.0, -1.0)]
    whole = probe.retina.sum((1, 2, 3))
    wanted = ((images[0] - images[1])[:, :1].sum((1, 2, 3)) / whole / 2).mean()
    effect = probe.measure(step)
    assert effect.change["ex"] == pytest.approx(float(wanted), rel=1e-3)
    assert 0 <= effect.locality["ex"] <= 1


def test_a_bundle_with_encoder_and_directions_edits(network: StyleGAN3, photographs: Tensor, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, network)
    encoder = {"num_ws": 16, "w_dim": 8, "channels": [4, 4, 8, 16, 16], "pyramid": 8, "hidden": 16}
    judge = {"backbone": "vgg16", "width": 0.125, "num_classes": 2}
    parts = {
        "encoder": ("StyleEncoder", encoder, StyleEncoder(**encoder)),  # type: ignore[arg-type]
        "judge": ("FundusGrader", judge, FundusGrader(**judge)),  # type: ignore[arg-type]
    }
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    for name, (target, arguments, part) in parts.items():
        file = f"models/{name}.pt"
        save_state(part.state_dict(), bundle / file)
        metadata["weights"][file] = {"sha256": sha256_file(bundle / file)}
        own = {"weights_file": file, "network_def": {"_target_": f"monai_retina_gen.networks.{target}", **arguments}}
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(own))
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    config |= {"encoder": "encoder", "perceptual_network": f"{bundle}:judge", "inversion": {"steps": 1}}
    (bundle / "configs" / "inference.json").write_text(json.dumps({**config, "distance_limit": 1e6}))
    generator = load_generator(bundle)
    assert generator.modes == {"sample", "reconstruct", "edit"}
    batch = generator.edit(photographs[:2], [3, 0], lesion="ex", strength=0.5)
    assert "refused" not in batch.records[0].options
    assert "grade 0" in batch.records[1].options["refused"]
    again = regenerate(batch.records[0], source=photographs[0], bundle=bundle)
    torch.testing.assert_close(again.image, batch.image[:1], atol=1 / 255, rtol=0)
    (bundle / "configs" / "inference.json").write_text(json.dumps({**config, "distance_limit": 1e-6}))
    far = load_generator(bundle).edit(photographs[:1], [3], lesion="ex", strength=0.5)
    assert "does not know this eye" in far.records[0].options["refused"]
    assert torch.equal(far.image, photographs[:1])
