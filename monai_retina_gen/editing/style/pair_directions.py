"""Directions from pairs: how styles differ between a photograph and its painted version, on the mean.

What the pairs share (the eye, its light) cancels, and what is left is the lesion. The difference of means over pairs is
the simplest of the supervised directions that StyleSpace compares (Wu et al. 2021, arXiv:2011.12799, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from monai_retina_gen.editing.style.channel_effects import ChannelProbe
from monai_retina_gen.editing.style.direction_search import FoundDirection, StyleRange, best_vector
from monai_retina_gen.editing.style.directions import Directions
from monai_retina_gen.editing.style.score_presets import DirectionPreset
from monai_retina_gen.networks import StyleSpace

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
