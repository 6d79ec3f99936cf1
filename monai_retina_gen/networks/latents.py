"""Latents of generators: which distribution a network was trained on, drawing from it, and those kept by curation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LATENT_DISTRIBUTIONS = ("normal", "uniform")


def draw_latents(count: int, *shape: int, distribution: str = "normal", generator: torch.Generator) -> Tensor:
    """Latents `(count, *shape)` on the CPU, so that devices see the same numbers: N(0, 1), or `uniform`, U(-1, 1)."""
    if distribution == "normal":
        return torch.randn(count, *shape, generator=generator, dtype=torch.float32)
    if distribution == "uniform":
        return torch.rand(count, *shape, generator=generator, dtype=torch.float32) * 2 - 1
    raise ValueError(f"latent distribution {distribution!r} is unknown: choose one of {LATENT_DISTRIBUTIONS}")


def latents_from_seeds(seeds: Sequence[int], *shape: int, distribution: str = "normal") -> Tensor:
    """Latents `(B, *shape)` as `draw_latents` gives them, one seed each: a sample depends on its seed alone."""
    drawn = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    rows = [draw_latents(1, *shape, distribution=distribution, generator=each) for each in drawn]
    return torch.cat(rows) if rows else torch.empty(0, *shape)


class CuratedLatents(nn.Module):
    """Base of unconditional generators: a table of latents that stand for each grade, `places` at most.

    Nothing in such a network knows a grade. `curate` draws many images, keeps the realistic ones and lets graders label
    them; the latents of those are stored here, so that one file holds all that sampling by grade needs.
    `distribution` is that of the latents which the network is trained on; `ValueError` for an unknown one.
    """

    curated_latents: Tensor
    curated_counts: Tensor

    def __init__(self, *, latent_dim: int, distribution: str = "normal", classes: int = 5, places: int = 100) -> None:
        super().__init__()
        if distribution not in LATENT_DISTRIBUTIONS:
            raise ValueError(f"latent_distribution {distribution!r}: choose one of {LATENT_DISTRIBUTIONS}")
        self.latent_dim, self.latent_distribution = latent_dim, distribution
        self.register_buffer("curated_latents", torch.zeros(classes, places, latent_dim))
        self.register_buffer("curated_counts", torch.zeros(classes, dtype=torch.long))

    @torch.no_grad()
    def set_curated(self, latents: Sequence[Tensor]) -> None:
        """Store the latents of each grade, `(n, latent_dim)`; `n` may be 0."""
        classes, places = self.curated_latents.shape[:2]
        if len(latents) != classes or max(map(len, latents)) > places:
            raise ValueError(
                f"latents hold {[len(x) for x in latents]}: want {classes} grades with at most {places} each"
            )
        self.curated_latents.zero_()
        for grade, rows in enumerate(latents):
            self.curated_latents[grade, : len(rows)] = rows
            self.curated_counts[grade] = len(rows)
