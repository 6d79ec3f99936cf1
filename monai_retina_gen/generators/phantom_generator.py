"""Smooth phantoms as a generator: a teacher whose every lesion pixel is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from monai_retina_gen.data.names import STRUCTURES
from monai_retina_gen.data.phantom.smooth import FACTORS, SMOOTH_LESIONS, draw_smooth_phantom, grade_amount
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator, latents_from_seeds

MASKS = (*STRUCTURES, "fov")


class PhantomGenerator(RetinaGenerator):
    """Phantom eyes that are a smooth function of latent and grade, with exact masks (see `data.phantom.smooth`).

    The latent is divided by its root mean square first, as StyleGAN3 does, so that a student which sees the same latent
    can know every factor. Entry i drives factor i; further entries do nothing.

    Args:
        z_dim: size of a latent, at least the number of factors.
        image_size: side of the images.

    Raises:
        ValueError: for too few entries.

    Examples:
        >>> batch = PhantomGenerator(image_size=32).sample([0, 3], seeds=[1, 2])
        >>> batch.image.shape, float(batch.masks["ex"][0].max()), bool(batch.masks["he"][1].max() > 0.5)
        (torch.Size([2, 3, 32, 32]), 0.0, True)
    """

    modes = frozenset({"sample"})

    def __init__(self, *, z_dim: int = 16, image_size: int = 64) -> None:
        super().__init__(_Place())
        if z_dim < len(FACTORS):
            raise ValueError(f"z_dim is {z_dim}: the phantoms have {len(FACTORS)} factors")
        self.z_dim, self.image_size = z_dim, image_size

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """`(B, z_dim)` standard normal latents, each of its seed alone."""
        return latents_from_seeds(seeds, self.z_dim)

    def factors(self, latents: Tensor, grades: Tensor) -> Tensor:
        """Factors `(B, 10)` in the order of `FACTORS`: continuous in the latent; lesions after the grade's rules."""
        scaled = latents / latents.square().mean(1, keepdim=True).add(1e-8).sqrt()
        share = (0.5 + scaled[:, : len(FACTORS)] / 4).clamp(0, 1)  # 95 of 100 lie within two standard deviations
        amounts = [i for i, name in enumerate(FACTORS) if name in (*SMOOTH_LESIONS, "preretinal")]
        found = 2 * share - 1
        for row, grade in enumerate(grades.tolist()):
            for i in amounts:
                found[row, i] = grade_amount(grade, FACTORS[i], float(share[row, i]))
        return found

    def images(self, latents: Tensor, grades: Tensor) -> Tensor:
        """`(B, 3, S, S)` in [0, 1]."""
        return self.draw(self.factors(latents, grades))[0]

    def draw(self, factors: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images `(B, 3, S, S)` in [0, 1] and masks `(B, 1, S, S)` of factors `(B, 10)`; also the mask `sites`."""
        drawn = [draw_smooth_phantom(row.tolist(), size=self.image_size) for row in factors]
        images = torch.from_numpy(np.stack([image for image, _ in drawn]))
        names = (*MASKS, "sites")
        return images, {n: torch.from_numpy(np.stack([masks[n] for _, masks in drawn]))[:, None] for n in names}

    def draw_masks(self, factors: Tensor) -> dict[str, Tensor]:
        """The masks of `draw`."""
        return self.draw(factors)[1]

    def sample(self, grades: Sequence[int] | Tensor, *, seeds: Sequence[int]) -> GeneratedBatch:  # type: ignore[override]  # options written out
        """Phantoms for grades, with their masks; each depends on its seed and grade alone."""
        grade = self.check_pairs(grades, seeds)
        image, masks = self.draw(self.factors(self.latents(seeds), grade))
        masks.pop("sites")
        own = {name: mask.to(self.device) for name, mask in masks.items()}
        return GeneratedBatch(image.to(self.device), grade, self.records("sample", grade, seeds), own)


class _Place(nn.Module):
    """No network: it only says where the images are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("place", torch.empty(0), persistent=False)
