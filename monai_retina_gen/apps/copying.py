"""Whether generated images copy training photographs: distances in one space, and the figures drawn from them.

All distances are the smallest over variants (flips, shifts) of an image. The photographs held out are what a generator
that copies nothing would give: each figure stands beside theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import fisher_exact
from torch import Tensor

from monai_retina_gen.metrics import mann_whitney_z
from monai_retina_gen.metrics.neighbours import distance_blocks

__all__ = ["NEAR", "Space", "copying_figures", "distances", "flagged_more_often", "make_space", "same_source"]

NEAR = 0.5
"""Ratio of distances below which an image is taken for a possible copy."""


@dataclass(frozen=True)
class Space:
    """Distances in one space, `(rows, columns)` float64; infinite where a photograph must not be compared.

    Args:
        to_train: generated images to training photographs.
        to_holdout: generated images to photographs held out.
        holdout_to_train: photographs held out to training photographs.
        within_holdout: among photographs held out, infinite on the diagonal.
        within_train: those training photographs that are `nearest` of something, to all others.
        nearest: rows of `within_train` by training photograph; -1 where it is nobody's nearest.
    """

    to_train: Tensor
    to_holdout: Tensor
    holdout_to_train: Tensor
    within_holdout: Tensor
    within_train: Tensor
    nearest: Tensor

    @property
    def ratios(self) -> Tensor:
        """Distance to the nearest training photograph over that to the nearest one held out, of generated images."""
        return _ratio(self.to_train, self.to_holdout)

    @property
    def holdout_ratios(self) -> Tensor:
        """The same of photographs held out, each compared with the others."""
        return _ratio(self.holdout_to_train, self.within_holdout)


def distances(queries: Tensor, references: Tensor) -> Tensor:
    """Smallest Euclidean distance of any variant: `(V, n, d)` queries and `(m, d)` references give `(n, m)`."""
    flat = [block for _, block in distance_blocks(queries.flatten(0, 1).double(), references.double())]
    return torch.cat(flat).unflatten(0, queries.shape[:2]).amin(dim=0)


def make_space(
    variants: Callable[[str, list[int] | None], Tensor], plain: dict[str, Tensor], excluded: tuple[Tensor, Tensor]
) -> Space:
    """Distances of a space.

    Args:
        variants: gives `(V, n, d)` of the rows (all for None) of the set `train`, `holdout` or `generated`.
        plain: `(n, d)` of `train` and `holdout`.
        excluded: booleans (generated, train) and (generated, holdout): an edit and its own source.
    """
    generated, holdout = variants("generated", None), variants("holdout", None)
    to_train = distances(generated, plain["train"]).masked_fill(excluded[0], math.inf)
    holdout_to_train = distances(holdout, plain["train"])
    # variants of all training photographs would not fit into memory for large sets
    chosen = torch.cat([to_train.argmin(1), holdout_to_train.argmin(1)]).unique()
    within_train = distances(variants("train", chosen.tolist()), plain["train"])
    within_train[torch.arange(len(chosen)), chosen] = math.inf
    nearest = torch.full((len(plain["train"]),), -1).index_put((chosen,), torch.arange(len(chosen)))
    within = distances(holdout, plain["holdout"]).fill_diagonal_(math.inf)
    to_holdout = distances(generated, plain["holdout"]).masked_fill(excluded[1], math.inf)
    return Space(to_train, to_holdout, holdout_to_train, within, within_train, nearest)


def copying_figures(space: Space) -> dict[str, Any]:
    """Ratio below 0.5, authenticity and C_T of generated images, each beside the value of photographs held out."""
    return {
        "generated": _figures(space, space.to_train, space.ratios),
        "holdout": _figures(space, space.holdout_to_train, space.holdout_ratios),
        "data_copying": _data_copying(space),
    }


def flagged_more_often(generated: dict[str, Any], holdout: dict[str, Any]) -> float:
    """p-value (Fisher, one-sided) that ratios below 0.5 are no more frequent than among photographs held out."""
    table = [[f["near"], f["n"] - f["near"]] for f in (generated, holdout)]
    return float(fisher_exact(table, alternative="greater")[1])


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


def _data_copying(space: Space) -> dict[str, float]:
    """C_T (global form): below 0 where generated images lie nearer to training than photographs held out do.

    Smooth images lie near everything: `towards_holdout`, the same with the two sets exchanged, then falls as well. The
    value of photographs held out is that of one half of them against the other.
    """
    generated, holdout = (x.min(dim=1).values for x in (space.to_train, space.holdout_to_train))
    exchanged = [x.min(dim=1).values for x in (space.to_holdout, space.holdout_to_train.T)]
    order = torch.randperm(len(holdout), generator=torch.Generator().manual_seed(0))
    first, second = holdout[order[::2]], holdout[order[1::2]]
    return {
        "generated": mann_whitney_z(generated, holdout),
        "towards_holdout": mann_whitney_z(exchanged[0], exchanged[1]),
        "holdout": mann_whitney_z(first, second),
    }


def _ratio(to_train: Tensor, to_holdout: Tensor) -> Tensor:
    a, b = to_train.min(dim=1).values, to_holdout.min(dim=1).values
    return torch.where(a == b, 1.0, a / b)


def same_source(sources: Sequence[str], names: Sequence[Sequence[str]]) -> Tensor:
    """(generated, photographs) booleans: which photograph an edited image was made from, by any of its names."""
    rows = [[bool(source) and source in known for known in names] for source in sources]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(sources), len(names))
