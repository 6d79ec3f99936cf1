"""DR-GAN as a generator: photographs from masks and a grade; the masks may be those of eyes that do not exist."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.data import LesionBank, MaskComposer, phantom_fundus
from monai_retina_gen.data.condition_map import CONDITION_LESIONS, condition_map, missing_masks
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.data.names import ANATOMY
from monai_retina_gen.editing.lesion_masks import Masker
from monai_retina_gen.editing.painting import RatioPainter
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.generators.base import GeneratedBatch
from monai_retina_gen.generators.bundle_parts import BundleMasks, bundle_lesion_bank
from monai_retina_gen.generators.lesion_painting import LesionPainting
from monai_retina_gen.weights import read_inference_config

ALLOWANCES = ("size", "overlap", "excluded")
"""What `synthesize(allow=...)` can let pass: another image size than the weights were trained at, lesions on the optic
disc, and lesions that the grade excludes."""

OVERLAP = 0.01
"""Share of the disc that lesions may cover without being asked about: blurred edges touch."""


class DRGANGenerator(LesionPainting):
    """Photographs from masks and a grade; with a lesion bank, lesions on photographs as well (`RatioPainter`).

    Args:
        network: the trained `DRGAN`.
        image_size: side of the images that it was trained on, in pixels.
        batch_size: images per forward pass.

    Examples:
        >>> from monai_retina_gen.networks import DRGAN
        >>> generator = DRGANGenerator(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False), image_size=32)
        >>> batch = generator.synthesize({"vessel": torch.rand(2, 1, 32, 32)}, [0, 4], seeds=[1, 2])
        >>> batch.image.shape, batch.records[1].options["missing_masks"][:2]
        (torch.Size([2, 3, 32, 32]), ['od', 'fov'])
    """

    modes = frozenset({"synthesize"})
    own_masks_options = MappingProxyType({"allow": ("overlap",)})  # annotated lesions do lie on discs
    changes = ("add",)  # what a network that never saw the photograph takes away leaves traces
    network: Any
    eyes: ComposedEyes | None = None

    def __init__(self, network: nn.Module, *, image_size: int, batch_size: int = 8) -> None:
        super().__init__(network)
        if check_whole("image_size", image_size) % self.network.stride:
            raise ValueError(f"image_size={image_size}: want a multiple of {self.network.stride}")
        self.image_size, self.batch_size = image_size, batch_size
        self.num_classes = int(self.network.num_classes)

    def load_parts(self, bundle: Path, config_name: str = "inference") -> None:
        """Take the bundle's lesion bank, where it has one, and the segmenter that it names; see `set_lesion_bank`."""
        bank = bundle_lesion_bank(bundle, config_name)
        if bank is not None:
            segmenter = read_inference_config(bundle, config_name).get("photograph_segmenter")
            self.set_lesion_bank(bank, masker=BundleMasks.of(segmenter))

    def set_lesion_bank(self, bank: LesionBank, *, masker: Masker | None = None) -> None:
        """Compose lesions of this bank: in `sample`, for which grades alone are then enough, and on photographs.

        `masker` finds the masks that photographs come without.
        """
        self.eyes = ComposedEyes(bank, image_size=self.image_size)
        self.modes = type(self).modes | {"sample"}
        painter = RatioPainter(self.network, image_size=self.image_size, batch_size=self.batch_size)
        self.equip(painter, masker=masker, composer=self.eyes.composer)

    @property
    def missing_grades(self) -> frozenset[int]:
        """Grades of which the lesion bank has no eye."""
        return frozenset(range(self.num_classes)) - self.eyes.grades if self.eyes is not None else frozenset()

    def sample(self, grades: Sequence[int] | Tensor, *, seeds: Sequence[int]) -> GeneratedBatch:  # type: ignore[override]  # options written out
        """Images for grades, from masks of eyes that do not exist (see `ComposedEyes`); the masks come with them.

        The eye depends on its seed alone, its lesions on seed and grade. `UnsupportedModeError` without a lesion bank,
        `ValueError` for a grade that it cannot compose.
        """
        if self.eyes is None:
            raise self._lacks("sample")
        grade = self.check_pairs(grades, seeds)
        masks = self._here(self.eyes.masks(grade.tolist(), seeds=seeds))
        image = self.images(condition_map(masks), grade, seeds)
        return GeneratedBatch(image, grade, self.records("sample", grade, seeds), masks)

    @torch.no_grad()
    def synthesize(
        self,
        masks: Mapping[str, Tensor] | None = None,
        grades: Sequence[int] | Tensor | None = None,
        *,
        seeds: Sequence[int],
        canvas: Tensor | None = None,
        allow: Collection[str] = (),
        sources: Sequence[str] | None = None,
        **options: Any,
    ) -> GeneratedBatch:
        """Images from masks and grades, or photographs of healthy eyes painted to grades.

        Args:
            masks: any of `CONDITION_KEYS`, each `(B, 1, image_size, image_size)` in [0, 1]. What is not given is
                taken for absent, and named in the record.
            grades: `B` grades; `None` predicts each from its masks.
            seeds: `B` integers; an image depends on its masks, grade and seed alone.
            canvas: `(B, 3, H, H)` photographs of healthy eyes; `masks` and `options` are then those of
                `paint_canvases`.
            allow: any of `ALLOWANCES`, for requests that are refused otherwise.
            sources: identifiers of the masks for the records.
            options: those of `paint_canvases` with a canvas, else none: any raises `TypeError`.

        Raises:
            ImageValueError: for masks of unknown name, unequal size, or values outside [0, 1]; and, unless allowed, for
                another size than `image_size`, lesions on more than 1 % of the optic disc, or that the grade excludes.
            ValueError: for a grade outside 0-4, another number of grades or seeds than of masks, or an unknown `allow`.
        """
        if canvas is not None:
            return self.paint_canvases(canvas, grades, seeds=seeds, masks=masks, sources=sources, **options)
        if options:
            raise TypeError(f"options {sorted(options)} are those of painting: give canvas=photographs of healthy eyes")
        if masks is None:
            raise ValueError("masks: none came; give masks to make images of, or canvas=photographs of healthy eyes")
        unknown = sorted(set(allow) - set(ALLOWANCES))
        if unknown:
            raise ValueError(f"allow={unknown}: the allowances are {', '.join(ALLOWANCES)}")
        condition = condition_map(masks)
        self._check_request(condition, seeds, grades, allow)
        grade = self._grades(condition, grades)
        self._check_lesions(masks, grade, allow)
        image = self.images(condition, grade, seeds)
        used = {
            "masks": sorted(masks),
            "missing_masks": missing_masks(masks),
            "grade_predicted": grades is None,
            "allow": sorted(allow),
        }
        records = self.records("synthesize", grade, seeds, sources=sources, options=used)
        return GeneratedBatch(image, grade, records, self._here(masks))

    @torch.no_grad()
    def images(self, condition: Tensor, grades: Tensor, seeds: Sequence[int]) -> Tensor:
        """Images `(B, 3, H, W)` in [0, 1] of condition maps `(B, 9, H, W)`, without any check of what they ask for."""
        made = []
        for start in range(0, len(seeds), self.batch_size):
            rows = slice(start, start + self.batch_size)
            maps = condition[rows].to(self.device)
            latent, noise = self.network.draw(seeds[rows], size=tuple(maps.shape[2:]), device=self.device)
            image = self.network(maps, grades[rows].to(self.device), latent, noise)
            made.append(((image.float() + 1) / 2).clamp(0, 1))
        return torch.cat(made) if made else torch.empty(0, 3, *condition.shape[2:], device=self.device)

    def _here(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: mask.to(self.device) for name, mask in masks.items()}

    def _grades(self, condition: Tensor, grades: Sequence[int] | Tensor | None) -> Tensor:
        if grades is not None:
            return self.check_grades(grades)
        parts = condition.split(self.batch_size)
        found = [self.network.predict_grade(part.to(self.device)).argmax(1) for part in parts]
        return torch.cat(found)

    def _check_request(
        self,
        condition: Tensor,
        seeds: Sequence[int],
        grades: Sequence[int] | Tensor | None,
        allow: Collection[str],
    ) -> None:
        if condition.ndim != 4:
            raise ImageValueError(f"masks: want a batch (B, 1, H, W), got one of {tuple(condition.shape[1:])} each")
        size, stride = tuple(condition.shape[2:]), self.network.stride
        if size[0] % stride or size[1] % stride:
            raise ImageValueError(f"masks: size {size} came, height and width must be multiples of {stride}")
        if size != (self.image_size, self.image_size) and "size" not in allow:
            raise ImageValueError(
                f"masks: size {size} came, but generator {self.name!r} makes {self.image_size} px: resize the masks "
                "(CropToFieldOfViewd with mask_keys), or allow=('size',) for images at a size that it has not learned"
            )
        counts = {"seeds": len(seeds)} | ({} if grades is None else {"grades": len(grades)})
        wrong = {name: count for name, count in counts.items() if count != len(condition)}
        if wrong:
            raise ValueError(f"{wrong} came for {len(condition)} sets of masks: give one for each")

    def _check_lesions(self, masks: Mapping[str, Tensor], grades: Tensor, allow: Collection[str]) -> None:
        lesions = {key: masks[key] >= 0.5 for key in CONDITION_LESIONS if key in masks}
        if "overlap" not in allow and "od" in masks:
            _refuse_overlap(masks["od"] >= 0.5, lesions)
        if "excluded" in allow:
            return
        for row, grade in enumerate(grades.tolist()):
            possible = GRADE_LESIONS.get(grade, CONDITION_LESIONS)
            shown = [key for key, lesion in lesions.items() if key not in possible and bool(lesion[row].any())]
            if shown:
                raise ImageValueError(
                    f"masks of row {row} show {', '.join(shown)}, which grade {grade} excludes: ask for another grade, "
                    "leave these masks out, or allow=('excluded',)"
                )


def _refuse_overlap(disc: Tensor, lesions: Mapping[str, Tensor]) -> None:
    for key, lesion in lesions.items():
        if key in ("laser", "membrane"):  # a membrane often grows from the disc, and class activation maps are coarse
            continue
        covered = (disc & lesion).flatten(1).sum(1) > OVERLAP * disc.flatten(1).sum(1)
        if bool(covered.any()):
            rows = covered.nonzero().flatten().tolist()[:8]
            raise ImageValueError(
                f"masks: {key!r} lies on the optic disc in rows {rows}: move the lesions off the disc, or "
                "allow=('overlap',)"
            )


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
