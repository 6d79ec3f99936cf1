"""Whether generated images copy training photographs: distances in one space, and the figures drawn from them.

All distances are the smallest over variants (flips, shifts) of an image. Each figure stands beside that of the
photographs held out, which is what copying nothing would give if generated images were as varied as photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics.data_copying import ratio_of_distances, training_cells
from monai_retina_gen.metrics.manifold import distance_blocks

__all__ = [
    "CELL_IMAGES",
    "NEAR",
    "Space",
    "copying_figures",
    "distances",
    "make_space",
    "same_source",
]

NEAR = 0.5
"""Ratio of distances below which an image is taken for a possible copy."""
CELLS = 3
CELL_IMAGES = 20
"""Images of each kind that a cell needs, after Meehan et al."""


@dataclass(frozen=True)
class Space:
    """Distances in one space, `(rows, columns)` float64; infinite where a photograph must not be compared.

    Args:
        to_train: generated images to training photographs.
        to_holdout: generated images to photographs held out.
        holdout_to_train: photographs held out to training photographs.
        within_holdout: among photographs held out, infinite between those of one patient or photograph.
        within_train: those training photographs that are `nearest` of something, to all others.
        nearest: rows of `within_train` by training photograph; -1 where it is nobody's nearest.
        cells: k-means cell of each training photograph, photograph held out and generated image.
    """

    to_train: Tensor
    to_holdout: Tensor
    holdout_to_train: Tensor
    within_holdout: Tensor
    within_train: Tensor
    nearest: Tensor
    cells: tuple[Tensor, Tensor, Tensor]

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
    variants: Callable[[str, list[int] | None], Tensor],
    plain: dict[str, Tensor],
    excluded: tuple[Tensor, Tensor],
    holdout_groups: Sequence[str],
) -> Space:
    """Distances of a space.

    Args:
        variants: gives `(V, n, d)` of the rows (all for None) of the set `train`, `holdout` or `generated`.
        plain: `(n, d)` of `train`, `holdout` and `generated`.
        excluded: booleans (generated, train) and (generated, holdout): an edit and its own source.
        holdout_groups: patient or photograph behind each photograph held out.
    """
    generated, holdout = variants("generated", None), variants("holdout", None)
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
    return Space(to_train, to_holdout, holdout_to_train, within, within_train, nearest, _cells(plain))


def _cells(plain: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    sets = [plain[name].double() for name in ("train", "holdout", "generated")]
    few = min(map(len, sets)) < CELLS * CELL_IMAGES
    train, holdout, generated = training_cells(sets, 1 if few else CELLS)
    return train, holdout, generated


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
