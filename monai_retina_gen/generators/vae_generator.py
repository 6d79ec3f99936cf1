"""`retina_vae` as a generator: samples for grades, and reconstructions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_retina_gen.arguments import check_real
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.networks import FundusVAE, PerGradeVAE, latents_from_seeds


class VAEGenerator(RetinaGenerator):
    """Samples and reconstructions of a class-conditional variational autoencoder.

    `temperature` is the scale of the latent's deviation from the grade's mean; below 1 is safer and less diverse.

    Examples:
        >>> generator = VAEGenerator(FundusVAE(image_size=64, latent_dim=8, channels=(8, 8, 8, 8)))
        >>> batch = generator.sample([0, 4], seeds=[1, 2])
        >>> batch.image.shape, batch.records[1].grade
        (torch.Size([2, 3, 64, 64]), 4)
    """

    modes = frozenset({"sample", "reconstruct"})
    network: FundusVAE | PerGradeVAE

    def __init__(self, network: FundusVAE | PerGradeVAE, *, temperature: float = 1.0, batch_size: int = 32) -> None:
        super().__init__(network)
        self.image_size, self.num_classes = network.image_size, network.num_classes
        temperature = check_real("temperature", temperature, least=0)
        self.temperature, self.batch_size = temperature, batch_size

    @torch.no_grad()
    def sample(  # type: ignore[override]  # options written out
        self, grades: Sequence[int] | Tensor, *, seeds: Sequence[int], temperature: float | None = None
    ) -> GeneratedBatch:
        """Images for grades, each of its seed, grade and temperature (by default the generator's) alone."""
        grade, scale = self.check_pairs(grades, seeds), self.temperature if temperature is None else temperature
        # One number more than the latent has: its sign chooses the side of the eye.
        drawn = latents_from_seeds(seeds, self.network.latent_dim + 1).to(self.device)
        noise, side = drawn[:, :-1] * scale, (drawn[:, -1] > 0).long()
        parts = (x.split(self.batch_size) for x in (noise, grade, side))
        images = [self.network.decode(self.network.prior(z, g, s), g).float() for z, g, s in zip(*parts, strict=True)]
        records = self.records("sample", grade, seeds, options={"temperature": scale})
        return GeneratedBatch(self._join(images), grade, records)

    @torch.no_grad()
    def reconstruct(  # type: ignore[override]  # options written out
        self, images: Tensor, grades: Sequence[int] | Tensor, *, sources: Sequence[str] | None = None
    ) -> GeneratedBatch:
        """Photographs `(B, 3, image_size, image_size)` in [0, 1] through encoder and decoder.

        It shows what the generator's texture alone does to an image. `sources` name the photographs in the records.
        """
        images, grade = self.check_images(images), self.check_grades(grades)
        parts = zip(images.split(self.batch_size), grade.split(self.batch_size), strict=True)
        outputs = [self.network.decode(self.network.encode(x, g)[0], g).float() for x, g in parts]
        return GeneratedBatch(self._join(outputs), grade, self.records("reconstruct", grade, sources=sources))

    @torch.no_grad()
    def encode(self, images: Tensor, grades: Sequence[int] | Tensor | None = None) -> Tensor:
        """Posterior means `(B, latent_dim)`; `grades=None` encodes as grade unknown."""
        grade = None if grades is None else self.check_grades(grades)
        return self.network.encode(self.check_images(images), grade)[0]

    def _join(self, images: list[Tensor]) -> Tensor:
        size = self.image_size
        return torch.cat(images).clamp(0, 1) if images else torch.empty(0, 3, size, size, device=self.device)
