"""Masks for eyes that do not exist: a drawn anatomy, with lesions of a bank composed for a grade."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_retina_gen.data import LesionBank, MaskComposer, phantom_fundus
from monai_retina_gen.data.names import ANATOMY

"""Masks that are drawn; the lesions are composed."""


class ComposedEyes:
    """Draws masks of whole eyes: vessels, disc and field of view of a phantom, lesions of a bank by grade.

    No vessel tree of a patient is in them, so that images made from them show nobody's eye.
    """

    def __init__(self, bank: LesionBank, *, image_size: int) -> None:
        self.composer, self.image_size = MaskComposer(bank), image_size

    @property
    def grades(self) -> frozenset[int]:
        """Grades that can be composed."""
        return frozenset(self.composer.grades)

    def masks(self, grades: Sequence[int], *, seeds: Sequence[int]) -> dict[str, Tensor]:
        """Masks by name, each `(B, 1, image_size, image_size)` in [0, 1]: the eye depends on its seed alone."""
        eyes = [self._eye(int(grade), int(seed)) for grade, seed in zip(grades, seeds, strict=True)]
        return {key: torch.stack([eye[key] for eye in eyes]) for key in eyes[0]} if eyes else {}

    def _eye(self, grade: int, seed: int) -> dict[str, Tensor]:
        drawn = phantom_fundus(seed, grade=0, size=self.image_size).masks
        anatomy = {key: drawn[key] for key in ANATOMY}
        return {**anatomy, **self.composer.compose(anatomy, grade, seed=seed).masks}
