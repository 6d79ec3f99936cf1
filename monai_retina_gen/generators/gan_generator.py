"""Generative adversarial networks as generators: class-conditional ones, and unconditional ones through curation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.arguments import check_real
from monai_retina_gen.errors import UnsupportedModeError
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.networks import latents_from_seeds
from monai_retina_gen.weights import build_from_bundle, find_bundle, start_networks

TRAINING_STATE = "training/state.pt"


class GANGenerator(RetinaGenerator):
    """Samples of a network from latents to images in [-1, 1].

    A network with classes gets the grade. One without knows no grades: its samples come from the latents that `curate`
    kept for each grade and stored with the weights, seed `s` taking place `s` modulo their number, so that so many
    consecutive seeds give different images.

    Args:
        network: the trained network: `latent_dim`, `latent_distribution`, `image_size`, `conditional`, and
            `forward(latent, grade)`.
        temperature: scale of the latents; below 1 is safer and less diverse.
        curated: `False` gives any image for any grade; its record says that the label means nothing.
        batch_size: images per forward pass.

    Examples:
        >>> from monai_retina_gen.networks import ResidualGenerator
        >>> network = ResidualGenerator(image_size=64, channels=(8, 8, 8, 8, 8), latent_dim=4)
        >>> GANGenerator(network).sample([0, 4], seeds=[1, 2]).image.shape
        torch.Size([2, 3, 64, 64])
    """

    modes = frozenset({"sample"})
    network: Any

    def __init__(
        self, network: nn.Module, *, temperature: float = 1.0, curated: bool = True, batch_size: int = 32
    ) -> None:
        super().__init__(network)
        self.image_size = int(self.network.image_size)
        self.conditional = bool(self.network.conditional)
        self.num_classes = int(self.network.num_classes) or 5
        temperature = check_real("temperature", temperature, least=0)
        self.temperature, self.curated, self.batch_size = temperature, curated, batch_size

    @property
    def missing_grades(self) -> frozenset[int]:
        """Grades for which curation has kept nothing; none for conditional networks."""
        if self.conditional or not self.curated:
            return frozenset()
        return frozenset(g for g, count in enumerate(self.network.curated_counts.tolist()) if count == 0)

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """`(B, latent_dim)` latents on the CPU, each of its seed alone."""
        network = self.network
        return latents_from_seeds(seeds, network.latent_dim, distribution=network.latent_distribution)

    @torch.no_grad()
    def images(self, latents: Tensor, grades: Tensor | None = None) -> Tensor:
        """Images in [0, 1] of latents `(B, latent_dim)`, with grades for conditional networks."""

        def make(rows: slice) -> Tensor:
            grade = None if grades is None else grades[rows].to(self.device)
            made: Tensor = self.network(latents[rows].to(self.device), grade)
            return made

        return self.in_batches(len(latents), make)

    @torch.no_grad()
    def in_batches(self, count: int, make: Callable[[slice], Tensor]) -> Tensor:
        """Images in [0, 1] of `count` rows, at most `batch_size` at a time; `make` gives a slice of them in [-1, 1]."""
        rows = [slice(start, start + self.batch_size) for start in range(0, count, self.batch_size)]
        made = [((make(few).float() + 1) / 2).clamp(0, 1) for few in rows]
        return torch.cat(made) if made else torch.empty(0, 3, self.image_size, self.image_size, device=self.device)

    def sample(  # type: ignore[override]  # options written out
        self,
        grades: Sequence[int] | Tensor,
        *,
        seeds: Sequence[int],
        temperature: float | None = None,
        curated: bool | None = None,
    ) -> GeneratedBatch:
        """Images for grades, each of its seed, grade and the two options alone, which replace the generator's.

        Curated latents are taken as they were judged; `UnsupportedModeError` if curation has kept nothing for a grade.
        """
        grade = self.check_pairs(grades, seeds)
        scale = self.temperature if temperature is None else temperature
        used: dict[str, Any] = {"temperature": scale}
        if self.conditional:
            latents = self.latents(seeds) * scale
        elif self.curated if curated is None else curated:
            latents, used = self._curated(grade, seeds), {"curated": True}
        else:
            latents, used = self.latents(seeds) * scale, {"temperature": scale, "curated": False}
        images = self.images(latents, grade if self.conditional else None)
        return GeneratedBatch(images, grade, self.records("sample", grade, seeds, options=used))

    def _curated(self, grade: Tensor, seeds: Sequence[int]) -> Tensor:
        counts, table = self.network.curated_counts.cpu(), self.network.curated_latents.cpu()
        empty = sorted({g for g in grade.tolist() if counts[g] == 0})
        if empty:
            raise UnsupportedModeError(
                f"generator {self.name!r} is unconditional, and curation has kept no image of grades {empty} "
                f"(kept for 0-{self.num_classes - 1}: {counts.tolist()}). Run `monai-retina-gen model curate "
                f"--generator {self.name} --store ...` with more candidates, or pass curated=False for images of any "
                "grade."
            )
        rows = [table[g, s % int(counts[g])] for g, s in zip(grade.tolist(), seeds, strict=True)]
        return torch.stack(rows) if rows else torch.empty(0, self.network.latent_dim)


def load_critic(bundle: str | os.PathLike[str]) -> nn.Module | None:
    """The critic that a bundle's generator was trained with, for ranking images; `None` where it was not kept.

    A released bundle has no critic: it lies in `training/`, from which training goes on. It gives scores `(B,)` of
    images in [-1, 1] and grades, and is in evaluation mode.
    """
    folder = find_bundle(bundle)
    path = folder / TRAINING_STATE
    if not path.is_file():
        return None
    critic: nn.Module = build_from_bundle(folder, "discriminator_def", config_name="train")
    start_networks({"discriminator": critic}, init_training=str(path))
    return critic.eval().requires_grad_(False)
