"""Smooth phantoms as generators: a teacher whose every lesion pixel is known, drawn plainly or by DR-GAN."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_retina_gen.data.condition_map import CONDITION_KEYS, condition_map
from monai_retina_gen.data.files import atomic_path
from monai_retina_gen.data.names import LESIONS, STRUCTURES
from monai_retina_gen.data.phantom.smooth import FACTORS, draw_smooth_phantom, grade_amount
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.generators.drgan_generator import DRGANGenerator
from monai_retina_gen.networks import latents_from_seeds
from monai_retina_gen.weights import state_sha256

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
        amounts = [i for i, name in enumerate(FACTORS) if name in (*LESIONS, "preretinal")]
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


RENDERED_FACTORS = (*FACTORS, "side", "light_y", "blue")
"""`side` is -1 or 1: the disc left or right."""

# After every third training photograph of IDRiD, inside the field of view: mean red, green and blue; deviations of the
# logarithms of brightness, of blue, and of the light's gradient from the centre to the rim. Blue, which varies most, is
# held nearer to its mean.
COLOUR = (0.627, 0.304, 0.088)
BRIGHTNESS, BLUE, GRADIENT = (0.17, 0.21, 0.2), 0.5, 0.22
WARMTH = (0.04, -0.03, 0.0)
DEVIATION = 0.5
"""Of a factor."""

GRADE, SEED = 2, 0
"""Of all renderings: the lesions shall differ, and nothing with them."""

SHIFT = 2.0
"""Photographs are centred less exactly than phantoms."""


class RenderedEyeGenerator(PhantomGenerator):
    """Photographs that are a smooth function of latent and grade: DR-GAN's renderings of smooth phantoms' masks.

    A style-based generator that imitates it draws lesions with the colours of photographs, and the lesions that it was
    asked for are known. Colours, light and the side of the disc follow factors of their own, with the spread that
    training photographs have; lesions are groups of spots.

    Args:
        renderer: draws masks at its own size.
        z_dim: size of a latent, at least the number of `RENDERED_FACTORS`.
        image_size: side of the images.
        both_sides: draw the disc on either side; else always left, which is much easier to learn.
        store: folder for what this renderer drew, by factors; a rendering costs half a second on a CPU.

    Raises:
        ValueError: for too few entries.

    Examples:
        >>> from monai_retina_gen.networks import DRGAN
        >>> renderer = DRGANGenerator(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False), image_size=64)
        >>> RenderedEyeGenerator(renderer, image_size=32).sample([0, 3], seeds=[1, 2]).image.shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        renderer: DRGANGenerator,
        *,
        z_dim: int = 16,
        image_size: int = 64,
        both_sides: bool = True,
        store: str | Path | None = None,
    ) -> None:
        super().__init__(z_dim=z_dim, image_size=image_size)
        if z_dim < len(RENDERED_FACTORS):
            raise ValueError(f"z_dim is {z_dim}: the renderings have {len(RENDERED_FACTORS)} factors")
        self.renderer, self.both_sides = renderer, both_sides
        self.store = None if store is None else Path(store)

    def factors(self, latents: Tensor, grades: Tensor) -> Tensor:
        """Factors `(B, 13)` in the order of `RENDERED_FACTORS`."""
        scaled = latents / latents.square().mean(1, keepdim=True).add(1e-8).sqrt()
        further = scaled[:, len(FACTORS) : len(RENDERED_FACTORS)]
        side = torch.where(further[:, :1] < 0, -1.0, 1.0) if self.both_sides else torch.full_like(further[:, :1], -1.0)
        return torch.cat([super().factors(latents, grades), side, (further[:, 1:] / 2).clamp(-1, 1)], dim=1)

    def draw(self, factors: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images `(B, 3, S, S)` in [0, 1] and masks `(B, 1, S, S)` of factors `(B, 13)`; also the mask `sites`."""
        drawn = torch.stack([self._drawn(row) for row in factors])
        masks = {name: drawn[:, 3 + i, None] for i, name in enumerate((*MASKS, "sites"))}
        return drawn[:, :3], masks

    def _drawn(self, row: Tensor) -> Tensor:
        """Image and masks `(3 + 8, S, S)` of one eye, from the store where it has them."""
        if self.store is None:
            return self._render(row)
        whose = f"{self._renderer_sha256} {self.renderer.image_size}".encode()  # a store may meet another renderer
        key = hashlib.sha256(whose + row.numpy().astype(np.float32).tobytes()).hexdigest()[:20]
        file = self.store / f"{key}_{self.image_size}.npy"
        if not file.is_file():
            values = (self._render(row) * 255).round().byte().numpy()
            self.store.mkdir(parents=True, exist_ok=True)
            with atomic_path(file) as part, part.open("wb") as stream:
                np.save(stream, values)
        return torch.from_numpy(np.load(file, allow_pickle=False)).float() / 255

    def _render(self, row: Tensor) -> Tensor:
        masks = self._whole_masks(row)
        image = self._rendered(masks) * self._gain(row)
        return self._placed(torch.cat([image.clamp(0, 1) * masks[MASKS.index("fov")], masks]), row)

    def draw_masks(self, factors: Tensor) -> dict[str, Tensor]:
        """The masks of `draw` without its images, which cost most."""
        drawn = torch.stack([self._placed(self._whole_masks(row), row) for row in factors])
        return {name: drawn[:, i, None] for i, name in enumerate((*MASKS, "sites"))}

    def _whole_masks(self, row: Tensor) -> Tensor:
        """Masks `(8, R, R)` at the renderer's size, the disc left."""
        value = dict(zip(RENDERED_FACTORS, row.tolist(), strict=True))
        moved = [value[name] * (SHIFT if name.startswith("disc") else 1) for name in FACTORS]
        _, drawn = draw_smooth_phantom(moved, size=self.renderer.image_size, scattered=True)
        return torch.from_numpy(np.stack([drawn[name] for name in (*MASKS, "sites")]))

    def _placed(self, maps: Tensor, row: Tensor) -> Tensor:
        """Maps `(C, R, R)` at the images' size, the disc on its side."""
        turned = maps.flip(-1) if row[RENDERED_FACTORS.index("side")] > 0 else maps
        side = (self.image_size, self.image_size)
        return interpolate(turned[None], side, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)

    def _rendered(self, masks: Tensor) -> Tensor:
        condition = condition_map({n: masks[i][None, None] for i, n in enumerate(MASKS) if n in CONDITION_KEYS})
        return self.renderer.images(condition, torch.tensor([GRADE]), [SEED])[0].cpu()

    @cached_property
    def _renderer_sha256(self) -> str:
        return state_sha256(self.renderer.network.state_dict())

    @cached_property
    def _colour(self) -> Tensor:
        """What makes the renderer's colour, in an eye without lesions, that of photographs."""
        masks = self._whole_masks(torch.zeros(len(RENDERED_FACTORS), dtype=torch.float32))
        inside = masks[MASKS.index("fov")]
        return (
            torch.tensor(COLOUR, dtype=torch.float32)
            * inside.sum()
            / (self._rendered(masks) * inside).sum((1, 2)).clamp(min=1e-3)
        )

    def _gain(self, row: Tensor) -> Tensor:
        """What the factors of colour and light multiply an image `(3, R, R)` by."""
        value = dict(zip(RENDERED_FACTORS, row.tolist(), strict=True))
        shade = torch.tensor(BRIGHTNESS, dtype=torch.float32) * value["brightness"]
        shade += torch.tensor(WARMTH, dtype=torch.float32) * value["warmth"]
        shade[2] += BLUE * value["blue"]
        side = self.renderer.image_size
        axis = (torch.arange(side, dtype=torch.float32) + 0.5) * 2 / side - 1
        light = GRADIENT * (value["light"] * axis + value["light_y"] * axis[:, None])
        return self._colour[:, None, None] * ((shade[:, None, None] + light) / DEVIATION).exp()
