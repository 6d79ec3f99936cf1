"""Distances of generated images to training photographs, in features and in pixels, and the figures drawn from them.

All distances are the smallest over variants (flips, shifts) of an image. Each figure stands beside that of the
photographs held out, which is what copying nothing would give if generated images were as varied as photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from monai_retina_gen.metrics import CopyingTest
from monai_retina_gen.metrics.manifold import celled_statistic, distance_blocks, ratio_of_distances, training_cells

SIDE = 32
RADIUS = 0.75
SHIFTS = (-2, -1, 0, 1, 2)
FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
_LUMINANCE = (0.299, 0.587, 0.114)


def flipped(images: Tensor) -> Iterator[Tensor]:
    """The images as they are, mirrored left to right, top to bottom, and both."""
    for dims in FLIPS:
        yield images.flip(dims) if dims else images


def pixel_descriptors(images: Tensor, *, moved: bool = False) -> Tensor:
    """Luminance and two colour differences at 32 x 32 in a disc of 0.75 of the field of view: `(N, d)`.

    `a * image + b` has the descriptor of `image`: a brighter copy is as near as an exact one. A mean over 3 x 3 pixels
    bridges shifts between whole pixels. `moved` gives `(100, N, d)`: four flips, each shifted by up to two of the 32
    pixels in both directions.
    """
    small = interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    smooth = avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False)
    if not moved:
        return _standardised(smooth, (0,))[0]
    return torch.cat([_standardised(x, SHIFTS) for x in flipped(smooth)])


def _standardised(smooth: Tensor, shifts: Sequence[int]) -> Tensor:
    """Descriptors of all shifts down and right, `(V, N, d)`."""
    reach = max(SHIFTS)
    padded = pad(smooth, (reach,) * 4, mode="replicate")
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    rows, columns = (axis[:, None] ** 2 + axis[None] ** 2 <= RADIUS**2).nonzero(as_tuple=True)
    parts = [padded[:, :, rows + reach - down, columns + reach - right] for down in shifts for right in shifts]
    inside = torch.stack(parts)  # (V, N, 3, pixels)
    luminance = (inside * torch.tensor(_LUMINANCE)[:, None]).sum(2, keepdim=True)
    channels = torch.cat([luminance, inside[:, :, :1] - luminance, inside[:, :, 2:] - luminance], dim=2)
    deviation = luminance.std(dim=3, keepdim=True).clamp(min=1e-4)  # a picture of one colour stays finite
    return ((channels - channels.mean(dim=3, keepdim=True)) / deviation).flatten(2)


NEAR = 0.5  # ratio of distances below which an image is taken for a possible copy
CELLS, CELL_IMAGES = 3, 20  # images of each kind that a cell needs, after Meehan et al.


@dataclass(frozen=True)
class Space:
    """Distances in one space, `(rows, columns)` float64; infinite where a photograph must not be compared."""

    to_train: Tensor  # generated images to training photographs
    to_holdout: Tensor  # generated images to photographs held out
    holdout_to_train: Tensor
    within_holdout: Tensor  # infinite between photographs of one patient
    within_train: Tensor  # those training photographs that are `nearest` of something, to all others
    nearest: Tensor  # rows of `within_train` by training photograph; -1 where it is nobody's nearest
    cells: tuple[Tensor, Tensor, Tensor]  # k-means cell of each training photograph, one held out, generated image

    @property
    def ratios(self) -> Tensor:
        """Distance to the nearest training photograph over that to the nearest one held out, of generated images."""
        return ratio_of_distances(self.to_train.amin(1), self.to_holdout.amin(1))

    @property
    def holdout_ratios(self) -> Tensor:
        """The same of photographs held out, each compared with those of other patients."""
        return ratio_of_distances(self.holdout_to_train.amin(1), self.within_holdout.amin(1))


def distances(queries: Tensor, references: Tensor) -> Tensor:
    """Smallest Euclidean distance of any variant: `(V, n, d)` queries and `(m, d)` references give `(n, m)`."""
    references = references.double()
    best = torch.full((queries.shape[1], len(references)), math.inf, dtype=torch.float64)
    for variant in queries:  # one after the other: a hundred variants of all would not fit into memory
        for rows, block in distance_blocks(variant.double(), references):
            best[rows] = torch.minimum(best[rows], block)
    return best


def make_space(
    variants: Callable[[str, list[int]], Tensor],
    plain: dict[str, Tensor],
    excluded: tuple[Tensor, Tensor],
    holdout_groups: Sequence[str],
) -> Space:
    """Distances of a space, from `(n, d)` of the sets and `(V, n, d)` of the variants of some rows of a set.

    `excluded` are (generated, train) and (generated, holdout): an edit and its own source.
    """
    generated, holdout = (variants(name, list(range(len(plain[name])))) for name in ("generated", "holdout"))
    to_train = distances(generated, plain["train"]).masked_fill(excluded[0], math.inf)
    holdout_to_train = distances(holdout, plain["train"])
    # variants of all training photographs would not fit into memory for large sets
    chosen = torch.cat([to_train.argmin(1), holdout_to_train.argmin(1)]).unique()
    within_train = distances(variants("train", chosen.tolist()), plain["train"])
    within_train[torch.arange(len(chosen)), chosen] = math.inf
    nearest = torch.full((len(plain["train"]),), -1).index_put((chosen,), torch.arange(len(chosen)))
    # one held out stands for a new patient: its own other photographs must not count
    same_patient = same_source(holdout_groups, [[group] for group in holdout_groups]).fill_diagonal_(True)
    within = distances(holdout, plain["holdout"]).masked_fill(same_patient, math.inf)
    to_holdout = distances(generated, plain["holdout"]).masked_fill(excluded[1], math.inf)
    sets = [plain[name].double() for name in ("train", "holdout", "generated")]
    few = min(map(len, sets)) < CELLS * CELL_IMAGES
    train, unseen, made = training_cells(sets, 1 if few else CELLS)
    return Space(to_train, to_holdout, holdout_to_train, within, within_train, nearest, (train, unseen, made))


def copying_figures(space: Space) -> dict[str, Any]:
    """Ratio below 0.5 and authenticity of generated images, each beside the value of photographs held out."""
    return {
        "generated": _figures(space, space.to_train, space.ratios),
        "holdout": _figures(space, space.holdout_to_train, space.holdout_ratios),
    }


def _figures(space: Space, to_train: Tensor, ratios: Tensor) -> dict[str, Any]:
    distance, index = to_train.min(dim=1)
    own = space.within_train[space.nearest[index]].min(dim=1).values
    near = int((ratios < NEAR).sum())
    return {
        "n": len(ratios),
        "near": near,
        "near_share": near / len(ratios),
        "ratio_median": float(ratios.median()),
        "authentic_share": float((distance > own).double().mean()),
    }


def same_source(sources: Sequence[str], names: Sequence[Sequence[str]]) -> Tensor:
    """(generated, photographs) booleans: which photograph an edited image was made from, by any of its names."""
    rows = [[bool(source) and source in known for known in names] for source in sources]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(sources), len(names))


def data_copying_figures(space: Space) -> dict[str, Any]:
    """C_T of Meehan et al. 2020 in cells: below 0 where generated images lie nearer to training than those held out do.

    Beside it one half of the photographs held out against the other. Where no cell has enough images it is the global
    form, and `note` says so.
    """
    in_train, in_holdout, in_generated = space.cells
    generated, holdout = (
        d.masked_fill(cells[:, None] != in_train, math.inf).amin(1)
        for d, cells in ((space.to_train, in_generated), (space.holdout_to_train, in_holdout))
    )
    order = torch.randperm(len(holdout), generator=torch.Generator().manual_seed(0))
    first, second = order[::2], order[1::2]
    cells = int(in_train.max()) + 1
    options = {"cells": cells, "min_images": CELL_IMAGES}
    found = celled_statistic(generated, holdout, in_generated, in_holdout, **options)
    floor = celled_statistic(holdout[first], holdout[second], in_holdout[first], in_holdout[second], **options)
    if celled := cells > 1 and not math.isnan(found.statistic):
        note = ""
    else:
        found = _global(space.to_train, space.holdout_to_train)
        note = (
            f"C_T is the global form: with {len(in_train)} training photographs, {len(in_holdout)} held "
            f"out and {len(space.to_train)} generated images, no cell would have {CELL_IMAGES} of each."
        )
    if not celled or math.isnan(floor.statistic):
        floor = _global(space.holdout_to_train[first], space.holdout_to_train[second])
    named = found.as_dict()
    return {
        "generated": named["statistic"],
        "holdout": floor.as_dict()["statistic"],
        "cells": cells if celled else 1,
        "cell_z": named["cell_z"],
        "tested_share": named["tested_share"],
        "holdout_cells": sum(not math.isnan(z) for z in floor.cell_z),
        "note": note,
    }


def _global(first: Tensor, second: Tensor) -> CopyingTest:
    values = [x.min(dim=1).values for x in (first, second)]
    one = [torch.zeros(len(x), dtype=torch.long) for x in values]
    return celled_statistic(values[0], values[1], one[0], one[1], cells=1, min_images=1)
