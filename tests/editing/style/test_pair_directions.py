"""Directions from pairs of eyes: the mean change, the surest channels, and what an edit makes of them."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from monai_retina_gen.editing import PRESETS, ChannelProbe, StyleShift, choose_pair_directions, pair_vector
from monai_retina_gen.networks import StyleGAN3, StyleSpace

SPACE = StyleSpace(names=["input", "L0", "rgb"], widths=[4, 20, 6])


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(0)
    before, noise = torch.randn(2, 40, 30, generator=drawn)
    lesion = torch.zeros(30)
    lesion[[1, 7, 12, 26]] = torch.tensor([5.0, 2.0, -1.5, 1.0])
    return before, before + lesion + 0.5 * noise


def test_the_mean_change_without_the_pose(pair: tuple[Tensor, Tensor]) -> None:
    vector = pair_vector(*pair, SPACE)
    assert not vector[:4].any()
    torch.testing.assert_close(vector[4:], (pair[1] - pair[0]).mean(0)[4:])


def test_the_surest_channels_are_those_of_the_paired_t_test(pair: tuple[Tensor, Tensor]) -> None:
    vector = pair_vector(*pair, SPACE, channels=3)
    t = abs(stats.ttest_rel(pair[1].numpy(), pair[0].numpy()).statistic)
    t[:4] = 0
    assert set(vector.nonzero().flatten().tolist()) == set(t.argsort()[-3:].tolist()) == {7, 12, 26}


@pytest.fixture
def network() -> StyleGAN3:
    torch.manual_seed(0)
    return StyleGAN3(image_size=32, z_dim=8, w_dim=8, channel_base=256, channel_max=8).eval()


def styles_of(network: StyleGAN3, count: int) -> Tensor:
    latents = torch.randn(count, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network.style_space.flatten(network.styles(network.mapping(latents)))


def colours(images: Tensor) -> dict[str, Tensor]:
    return {"ex": images[:, :1], "he": images[:, 2:]}


def planted(network: StyleGAN3, layer: int, count: int = 60) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """A change of three styles of a layer, and eyes with and without it, among other changes at random."""
    change = torch.zeros(network.style_space.size)
    change[[network.style_space.index(layer, channel) for channel in (0, 2, 5)]] = torch.tensor([2.0, -1.0, 1.5])
    before = styles_of(network, count)
    noise = 0.2 * torch.randn(before.shape, generator=torch.Generator().manual_seed(layer))
    return change, (before, before + change + noise)


def test_planted_changes_are_recovered(network: StyleGAN3) -> None:
    changes, pairs = zip(*(planted(network, layer) for layer in (9, 12)), strict=True)
    probe = ChannelProbe(network, styles_of(network, 3), colours, ["ex", "he"])
    named = dict(zip(("ex", "he"), pairs, strict=True))
    directions, found = choose_pair_directions(named, PRESETS["pairs"], network.style_space, probe)
    assert directions.lesions == ("ex", "he")
    assert PRESETS["pairs"].candidates < network.style_space.size
    for each, change in zip(found, changes, strict=True):
        torch.testing.assert_close(each.vector, change, atol=0.1, rtol=0)
        assert each.channel == int(change.abs().argmax())
        assert set(change.nonzero().flatten().tolist()) <= set(each.candidates)
        assert each.consistency == pytest.approx(1)
        assert each.specificity > 0.8  # the other lesion does not move that channel
    moved = StyleShift(directions, network.style_space)(styles_of(network, 1), [("ex",)], torch.tensor([0.5]))
    kept = (moved - styles_of(network, 1))[0]
    torch.testing.assert_close(kept[changes[0] != 0], 0.5 * changes[0][changes[0] != 0], atol=0.1, rtol=0)
    together = StyleShift(directions, network.style_space).vector(("ex", "he"))
    torch.testing.assert_close(together, directions.vectors["ex"] + directions.vectors["he"])


def test_the_form_that_does_more_of_the_lesion_is_taken(network: StyleGAN3) -> None:
    """Along all channels, where the weak ones help; along the surest alone, where they spoil it."""
    _, pair = planted(network, 9)
    sizes = dict[str, int]()

    class Probe(ChannelProbe):
        def measure(self, step: Tensor, times: float = 1.0):  # type: ignore[no-untyped-def]
            effect, moved = super().measure(step, times), int((step != 0).sum())
            effect.change["ex"] = 1.0 if (moved <= 50) == (wanted == "sparse") else 0.1
            effect.consistency["ex"] = effect.locality["ex"] = 1.0
            return effect

    for wanted in ("sparse", "dense"):
        probe = Probe(network, styles_of(network, 2), colours, ["ex"])
        _, found = choose_pair_directions({"ex": pair}, PRESETS["pairs"], network.style_space, probe)
        sizes[wanted] = int((found[0].vector != 0).sum())
    assert sizes == {"sparse": 50, "dense": network.style_space.size - 4}


def test_pairs_that_do_not_differ(network: StyleGAN3) -> None:
    same = styles_of(network, 3)
    probe = ChannelProbe(network, same, colours, ["ex"])
    with pytest.raises(ValueError, match="pairs of ex: no style differs"):
        choose_pair_directions({"ex": (same, same)}, PRESETS["pairs"], network.style_space, probe)


@pytest.mark.parametrize("shapes", [((1, 30), (1, 30)), ((4, 30), (3, 30)), ((30,), (30,))])
def test_no_pairs(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        pair_vector(torch.zeros(shapes[0]), torch.zeros(shapes[1]), SPACE)
