"""Choosing directions: the best channels by score, probed by finite differences, or the mean over pairs of eyes.

What the pairs of a photograph and its painted version share (the eye, its light) cancels, and what is left is the
lesion: the simplest of the supervised directions of StyleSpace (Wu et al. 2021, arXiv:2011.12799, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.editing.style.channel_effects import ChannelProbe, StepEffect
from monai_retina_gen.editing.style.composition import compose_channels
from monai_retina_gen.editing.style.contribution_scores import ScoreTable
from monai_retina_gen.editing.style.directions import Directions
from monai_retina_gen.editing.style.score_presets import POLARITY, DirectionPreset
from monai_retina_gen.networks import StyleSpace

QUANTILES = (0.01, 0.99)


@dataclass(frozen=True)
class StyleRange:
    """Where the styles of samples lie: mean, standard deviation, 1 % and 99 % quantile, `(K,)` each."""

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, styles: Tensor) -> StyleRange:
        """From styles `(N, K)`."""
        low, high = torch.quantile(styles, torch.tensor(QUANTILES).to(styles), dim=0)
        return cls(styles.mean(0), styles.std(0, correction=0), low, high)

    @property
    def reach(self) -> Tensor:
        """Half of the range between the quantiles, in standard deviations, `(K,)`."""
        return (self.high - self.low) / (2 * self.std.clamp(min=1e-8))


@dataclass(frozen=True)
class FoundDirection:
    """How a direction was found, for tables.

    `vector` is `(K,)`, see `Directions`; `score` and `consistency`, `|mean R| / mean |R|`, are those of the main
    channel, `specificity` its score less the strongest one in another region, over the score; `candidates` were probed,
    best first.
    """

    lesion: str
    channel: int
    vector: Tensor
    score: float
    consistency: float
    specificity: float
    candidates: list[int] = field(default_factory=list)


def rank_channels(
    table: ScoreTable, lesion: str, preset: DirectionPreset, space: StyleSpace, std: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores `(K,)` of all channels for a lesion and specificities; minus infinity where the preset excludes them."""
    values = (
        table.absolute
        if preset.absolute
        else table.signed
        * torch.tensor([POLARITY.get(r, 1.0) if not preset.lesion_colors else 1.0 for r in table.regions]).view(-1, 1)
    )
    values = values * std.cpu() if preset.in_sigma else values
    row = table.regions.index(lesion)
    others = torch.cat([values[:row], values[row + 1 :]]).abs().amax(0)
    scores = values[row] - preset.other_regions * others
    specificity = (values[row] - others) / values[row].abs().clamp(min=1e-30)
    for layer, name in enumerate(space.names):
        last = layer > len(space.names) - 2 - preset.last_layers and name != "rgb"
        if name in preset.exclude or last:
            scores[space.offsets[layer] : space.offsets[layer + 1]] = -torch.inf
    return scores, specificity


def choose_directions(
    table: ScoreTable,
    lesions: Sequence[str],
    preset: DirectionPreset,
    space: StyleSpace,
    styles: StyleRange,
    probe: ChannelProbe,
    progress: Any = iter,
    samples: tuple[Tensor, Mapping[str, Tensor]] | None = None,
) -> tuple[Directions, list[FoundDirection]]:
    """Directions of lesions, those that had a mask in some image, from their scores.

    Candidates are measured on the images of `probe`; `progress`, such as `tqdm`, wraps their list. `samples` are styles
    `(N, K)` of the scored images, and by region what was measured of each, for `preset.regressed`.
    """
    ranked = {lesion: rank_channels(table, lesion, preset, space, styles.std) for lesion in lesions}
    best = {
        lesion: [int(k) for k in scores.argsort(descending=True)[: preset.candidates] if scores[k] > -torch.inf]
        for lesion, (scores, _) in ranked.items()
    }
    channels = sorted({k for each in best.values() for k in each})
    effects = {k: probe.measure(_unit(k, styles.std)) for k in progress(channels)}
    vectors, found = {}, []
    for lesion in lesions:
        main, single = _main_channel(lesion, best[lesion], effects, preset, styles, probe)
        others = []
        if preset.composed and len(channels) > 1:
            others.append(_composed(lesion, effects, styles, probe))
        if preset.regressed and samples is not None:
            others.append(regressed_vector(lesion, *samples, preset, space, styles))
        tried = [single, *others] if preset.single else others
        vector = _calibrated(lesion, best_vector(lesion, tried, probe), styles, probe, preset) if others else single
        vectors[lesion] = vector
        row = table.regions.index(lesion)
        score, specific = float(ranked[lesion][0][main]), float(ranked[lesion][1][main])
        agree = float(table.signed[row, main].abs() / table.absolute[row, main].clamp(min=1e-30))
        found.append(FoundDirection(lesion, main, vector, score, agree, specific, best[lesion]))
    rows = {name: torch.tensor([effects[k].change[name] for k in channels]) for name in probe.row_names}
    directions = Directions(
        vectors, preset.step, styles.mean, styles.std, styles.low, styles.high, torch.tensor(channels), rows,
        probe.spread(),
    )  # fmt: skip
    return directions, found


def _main_channel(
    lesion: str,
    candidates: Sequence[int],
    effects: Mapping[int, StepEffect],
    preset: DirectionPreset,
    styles: StyleRange,
    probe: ChannelProbe,
) -> tuple[int, Tensor]:
    """Main channel, and the vector at strength 1 that moves it alone."""
    spread = probe.spread()
    main = max(candidates, key=lambda k: _merit(lesion, effects[k], spread)) if len(candidates) > 1 else candidates[0]
    if preset.step == "mu":
        return main, _unit(main, styles.mean)
    if preset.step == "max":
        return main, _unit(main, torch.ones_like(styles.mean))
    own = effects[main].change[lesion] / spread[lesion]
    size = min(float(styles.reach[main]), 1 / max(abs(own), 1e-9))
    return main, _unit(main, styles.std) * size * (1 if own >= 0 else -1)


def best_vector(lesion: str, vectors: Sequence[Tensor], probe: ChannelProbe) -> Tensor:
    """The vector whose measured effect has the greatest merit."""
    moving = [vector for vector in vectors if bool(vector.any())]
    return max(moving, key=lambda vector: _merit(lesion, probe.measure(vector), probe.spread()))


def _calibrated(
    lesion: str, vector: Tensor, styles: StyleRange, probe: ChannelProbe, preset: DirectionPreset
) -> Tensor:
    """The vector at the length that moves the lesion's area by the preset's spreads, measured."""
    own = probe.measure(vector).change[lesion] / probe.spread()[lesion]
    if own <= 1e-3:
        return vector
    times = preset.spreads / own
    return vector * (min(times, _times_within_reach(vector, styles)) if preset.within_reach else times)


def _times_within_reach(vector: Tensor, styles: StyleRange) -> float:
    """How many times a vector fits into the reach of every channel that it moves."""
    moved = vector != 0  # a channel without spread would allow nothing
    return float((styles.reach * styles.std)[moved].div(vector[moved].abs()).min()) if bool(moved.any()) else 0.0


def regressed_vector(
    lesion: str,
    samples: Tensor,
    measures: Mapping[str, Tensor],
    preset: DirectionPreset,
    space: StyleSpace,
    styles: StyleRange,
) -> Tensor:
    """Mean change of the styles `(K,)` when a lesion's area grows by one standard deviation and nothing else does.

    The coefficients of a linear regression of every style on all `measures`, `(N,)` by region, over images as the
    generator makes them (`samples`, styles `(N, K)`): all layers move together, as they do between its images. No
    channel moves farther than its reach.

    Examples:
        >>> space = StyleSpace(names=["L0"], widths=[2])
        >>> area, vessel = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
        >>> samples = torch.stack([area, area + vessel], dim=1)
        >>> one = StyleRange.of(samples)
        >>> vector = regressed_vector("ex", samples, {"ex": area, "vessel": vessel}, DirectionPreset(), space, one)
        >>> bool((vector[0] - vector[1]).abs() < 1e-5)
        True
    """
    varying = {name: row for name, row in measures.items() if float(row.std(correction=0)) > 1e-9}
    if lesion not in varying or len(samples) <= len(varying) + 1:
        return torch.zeros(space.size)
    rows = torch.stack([(row - row.mean()) / row.std(correction=0) for row in varying.values()], dim=1).double()
    centred = (samples - samples.mean(0)).double().to(rows.device)
    found = torch.linalg.lstsq(rows, centred, driver="gelsd").solution[list(varying).index(lesion)].float()
    for layer, name in enumerate(space.names):
        if name in preset.exclude:
            found[space.offsets[layer] : space.offsets[layer + 1]] = 0
    return found * min(_times_within_reach(found, styles), 1.0)


def _composed(lesion: str, effects: Mapping[int, StepEffect], styles: StyleRange, probe: ChannelProbe) -> Tensor:
    """Style change `(K,)` that moves the lesion's area by one spread, and the image away from the lesion least."""
    channels = list(effects)
    index = torch.tensor(channels)
    rows = {n: torch.tensor([effects[k].change[n] for k in channels]) for n in probe.row_names}
    deltas = [delta for k in channels if (delta := effects[k].delta) is not None]
    outside = probe.outside_products(lesion, deltas).cpu()
    steps = compose_channels({lesion: 1.0}, rows, probe.spread(), styles.reach[index], outside=outside)
    vector = torch.zeros_like(styles.mean)
    vector[index] = steps.to(vector) * styles.std[index]
    return vector


def _merit(lesion: str, effect: StepEffect, spread: Mapping[str, float]) -> float:
    """How much of what a step changes is the lesion: size, times the share of all changes, times locality."""
    sizes = {name: abs(value) / spread[name] for name, value in effect.change.items()}
    if effect.consistency[lesion] < 0.5:
        return 0.0
    return sizes[lesion] * sizes[lesion] / max(sum(sizes.values()), 1e-12) * effect.locality[lesion]


def _unit(channel: int, sizes: Tensor) -> Tensor:
    step = torch.zeros_like(sizes)
    step[channel] = sizes[channel]
    return step


Pair = tuple[Tensor, Tensor]
"""Styles `(N, K)` of eyes without a lesion and of the same eyes with it."""


def pair_vector(without: Tensor, with_lesion: Tensor, space: StyleSpace, *, channels: int | None = None) -> Tensor:
    """Mean change of the styles `(K,)` from eyes without a lesion to the same eyes with it, both `(N, K)`.

    Only so many `channels` move, those whose change is largest beside its standard error; `None` for all. The input's
    styles, which place the eye, stay. `ValueError` for fewer than two pairs.

    Examples:
        >>> space = StyleSpace(names=["input", "L0"], widths=[1, 2])
        >>> before = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 5.0]])
        >>> change = torch.tensor([[9.0, 1.0, -1.0], [9.0, 1.0, 2.0]])
        >>> pair_vector(before, before + change, space), pair_vector(before, before + change, space, channels=1)
        (tensor([0.0000, 1.0000, 0.5000]), tensor([0., 1., 0.]))
    """
    mean, sureness = _change((without, with_lesion), space)
    if channels is not None:
        mean[sureness.argsort(descending=True)[channels:]] = 0
    return mean.float()


def choose_pair_directions(
    pairs: Mapping[str, Pair], preset: DirectionPreset, space: StyleSpace, probe: ChannelProbe
) -> tuple[Directions, list[FoundDirection]]:
    """Directions of the preset `pairs`: strength 1 is the mean change; no edit leaves the range of the styles.

    Along all channels or along the `preset.candidates` surest alone, whichever, measured on `probe`, changes more of
    the lesion and less of all else. `ValueError` for pairs that do not differ, and as `pair_vector`.
    """
    sureness = {lesion: _change(pair, space)[1] for lesion, pair in pairs.items()}
    found = []
    for lesion, pair in pairs.items():
        tried = [pair_vector(*pair, space, channels=channels) for channels in (None, preset.candidates)]
        surest = sureness[lesion].argsort(descending=True)[: preset.candidates].tolist()
        main, change = surest[0], (pair[1] - pair[0])[:, surest[0]]
        score = float(sureness[lesion][main])
        if not score:
            raise ValueError(f"pairs of {lesion}: no style differs between photographs and painted versions")
        other = max((float(each[main]) for name, each in sureness.items() if name != lesion), default=0.0)
        agree = float(change.mean().abs() / change.abs().mean().clamp(min=1e-30))
        vector = best_vector(lesion, tried, probe)
        found.append(FoundDirection(lesion, main, vector, score, agree, 1 - other / score, surest))
    styles = StyleRange.of(torch.cat([side for pair in pairs.values() for side in pair]))
    vectors, nothing = {each.lesion: each.vector for each in found}, torch.empty(0, dtype=torch.long)
    return Directions(vectors, "sigma", styles.mean, styles.std, styles.low, styles.high, nothing, {}, {}), found


def _change(pair: Pair, space: StyleSpace) -> Pair:
    """Mean change `(K,)` of the styles, and its absolute value over its standard error; 0 for the input's styles."""
    without, with_lesion = pair
    if without.shape != with_lesion.shape or without.ndim != 2 or len(without) < 2:
        raise ValueError(
            f"styles {tuple(without.shape)} and {tuple(with_lesion.shape)} came: want (N, K) of at least two pairs"
        )
    change = (with_lesion - without).double()
    mean, error = change.mean(0), change.std(0) / len(change) ** 0.5
    for layer, name in enumerate(space.names):
        if name == "input":
            mean[space.offsets[layer] : space.offsets[layer + 1]] = 0
    return mean, mean.abs() / error.clamp(min=1e-12)
