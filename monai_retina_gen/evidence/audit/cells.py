"""C_T of an audit: the data-copying test of Meehan et al. (2020, arXiv:2004.05675) in cells of the training set."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.evidence.audit.copying import CELL_IMAGES, Space
from monai_retina_gen.metrics import CopyingTest
from monai_retina_gen.metrics.data_copying import celled_statistic

__all__ = ["data_copying_figures"]


def data_copying_figures(space: Space) -> dict[str, Any]:
    """C_T in cells: below 0 where generated images lie nearer to training than photographs held out do.

    The value of photographs held out is that of one half of them against the other. Where sets are too small for
    cells, or no cell has enough images, it is the global form, and `note` says so.
    """
    generated, holdout = (
        _within_cells(d, cells, space.cells[0]).min(dim=1).values
        for d, cells in ((space.to_train, space.cells[2]), (space.holdout_to_train, space.cells[1]))
    )
    order = torch.randperm(len(holdout), generator=torch.Generator().manual_seed(0))
    first, second = order[::2], order[1::2]
    cells = int(space.cells[0].max()) + 1
    found = _celled(generated, holdout, space.cells[2], space.cells[1], cells)
    floor = _celled(holdout[first], holdout[second], space.cells[1][first], space.cells[1][second], cells)
    if celled := cells > 1 and not math.isnan(found.statistic):
        note = ""
    else:
        found, note = _global(space.to_train, space.holdout_to_train), _note(space)
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


def _within_cells(to_train: Tensor, cells: Tensor, train_cells: Tensor) -> Tensor:
    return to_train.masked_fill(cells[:, None] != train_cells, math.inf)


def _celled(first: Tensor, second: Tensor, first_cells: Tensor, second_cells: Tensor, cells: int) -> CopyingTest:
    return celled_statistic(first, second, first_cells, second_cells, cells=cells, min_images=CELL_IMAGES)


def _global(first: Tensor, second: Tensor) -> CopyingTest:
    values = [x.min(dim=1).values for x in (first, second)]
    one = [torch.zeros(len(x), dtype=torch.long) for x in values]
    return celled_statistic(values[0], values[1], one[0], one[1], cells=1, min_images=1)


def _note(space: Space) -> str:
    n, m = len(space.to_train), len(space.to_holdout.T)
    return (
        f"C_T is the global form: with {len(space.cells[0])} training photographs, {m} held out and {n} generated "
        f"images, no cell would have {CELL_IMAGES} of each."
    )
