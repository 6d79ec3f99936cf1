"""Directions from pairs: how styles differ between a photograph and its painted version, on the mean.

What the pairs share (the eye, its light) cancels, and what is left is the lesion. The difference of means over pairs is
the simplest of the supervised directions that StyleSpace compares (Wu et al. 2021, arXiv:2011.12799, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from monai_retina_gen.editing.style.direction_search import StyleRange
from monai_retina_gen.editing.style.directions import Directions
from monai_retina_gen.networks import StyleSpace

__all__ = ["pair_directions", "pair_vector"]


def pair_vector(
    without: Tensor, with_lesion: Tensor, space: StyleSpace, *, channels: int | None = None, times: float = 1.0
) -> Tensor:
    """Mean change of the styles `(K,)` from eyes without a lesion to the same eyes with it.

    Args:
        without: styles `(N, K)`.
        with_lesion: styles of the same eyes, `(N, K)`.
        space: the network's style space; the input's styles, which place the eye, stay.
        channels: how many channels move, those whose change is largest beside its standard error; `None` for all.
        times: factor.

    Raises:
        ValueError: for fewer than two pairs, or unequal shapes.

    Examples:
        >>> space = StyleSpace(names=["input", "L0"], widths=[1, 2])
        >>> before = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 5.0]])
        >>> change = torch.tensor([[9.0, 1.0, -1.0], [9.0, 1.0, 2.0]])
        >>> pair_vector(before, before + change, space), pair_vector(before, before + change, space, channels=1)
        (tensor([0.0000, 1.0000, 0.5000]), tensor([0., 1., 0.]))
    """
    if without.shape != with_lesion.shape or without.ndim != 2 or len(without) < 2:
        raise ValueError(
            f"styles {tuple(without.shape)} and {tuple(with_lesion.shape)} came: want (N, K) of at least two pairs"
        )
    change = (with_lesion - without).double()
    mean, error = change.mean(0), change.std(0) / len(change) ** 0.5
    for layer, name in enumerate(space.names):
        if name == "input":
            mean[space.offsets[layer] : space.offsets[layer + 1]] = 0
    if channels is not None:
        weak = (mean.abs() / error.clamp(min=1e-12)).argsort(descending=True)[channels:]
        mean[weak] = 0
    return (mean * times).float()


def pair_directions(
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    styles: StyleRange,
    space: StyleSpace,
    *,
    channels: int | None = None,
    times: float | Mapping[str, float] = 1.0,
) -> Directions:
    """Directions of all lesions that have pairs; strength 1 is the mean change, `times` as much.

    Args:
        pairs: styles without and with each lesion, see `pair_vector`.
        styles: where styles lie: what an edit does not leave.
        space: the network's style space.
        channels: see `pair_vector`.
        times: factor, one for all or by lesion.
    """
    factor = {name: times[name] if isinstance(times, Mapping) else times for name in pairs}
    vectors = {name: pair_vector(*both, space, channels=channels, times=factor[name]) for name, both in pairs.items()}
    nothing = torch.empty(0, dtype=torch.long)
    return Directions(vectors, "sigma", styles.mean, styles.std, styles.low, styles.high, nothing, {}, {})
