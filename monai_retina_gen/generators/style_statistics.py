"""Mean and standard deviation of every style channel over many samples: the units in which styles are edited."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_retina_gen.generators.stylegan3_generator import StyleGAN3Generator
from monai_retina_gen.weights import CHECKPOINT, find_bundle, sha256_file
from monai_retina_gen.weights.state_files import load_pinned, save_pinned

STATISTICS = "models/style_statistics.pt"
"""Where a bundle keeps them."""


@dataclass(frozen=True)
class StyleStatistics:
    """Mean and standard deviation `(K,)` of the style space over `count` samples (without Bessel's correction)."""

    mean: Tensor
    std: Tensor
    count: int


@torch.no_grad()
def measure_styles(
    generator: StyleGAN3Generator, *, samples: int = 10_000, seed: int = 0, batch_size: int = 1000
) -> StyleStatistics:
    """Statistics over samples without truncation, all grades alike, in one pass and float64; no image is made.

    Sample i has seed `seed + i` and grade `i` modulo the number of grades. Batches are merged by their means and
    squared deviations (Chan et al. 1983), so that a small deviation beside a large mean keeps its digits.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    size = generator.style_space.size
    mean, squares = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    count = 0
    for start in range(0, samples, batch_size):
        seeds = range(start, min(start + batch_size, samples))
        grades = torch.tensor([i % generator.num_classes for i in seeds])
        ws = generator.codes([seed + i for i in seeds], grades)
        rows = generator.style_space.flatten(generator.network.styles(ws)).double().cpu()
        own, together = rows.mean(0), count + len(rows)
        squares += (rows - own).square().sum(0) + (own - mean).square() * (count * len(rows) / together)
        mean += (own - mean) * (len(rows) / together)
        count = together
    return StyleStatistics(mean.float(), (squares / count).sqrt().float(), count)


def save_style_statistics(bundle: str | os.PathLike[str], statistics: StyleStatistics, *, seed: int) -> None:
    """Write them into a bundle and pin their sha256 in its metadata, beside that of the weights they belong to."""
    folder = find_bundle(bundle)
    tensors = {"mean": statistics.mean, "std": statistics.std, "count": torch.tensor(statistics.count)}
    of = sha256_file(folder / CHECKPOINT)
    save_pinned(tensors, folder, STATISTICS, of=of, samples=statistics.count, seed=seed)


def load_style_statistics(bundle: str | os.PathLike[str]) -> StyleStatistics:
    """The style statistics of a bundle, by name or folder.

    Raises:
        WeightsError: if they are missing or changed, or were measured with other weights.
    """
    folder = find_bundle(bundle)
    command = f"model style-statistics --generator {folder.name}"
    state = load_pinned(folder, STATISTICS, of=sha256_file(folder / CHECKPOINT), command=command)
    return StyleStatistics(state["mean"], state["std"], int(state["count"]))
