"""The modes `edit` and `reconstruct` of generators with a style space."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.editing.directions import DIRECTIONS, Directions, load_directions
from monai_retina_gen.editing.edit_request import EditRequest
from monai_retina_gen.editing.inversion import Inverter
from monai_retina_gen.editing.label_gate import Gate, resolve_gate
from monai_retina_gen.editing.lesion_editor import EditedPhotographs, LesionEditor
from monai_retina_gen.editing.lesion_masks import Masker, SegmenterMasks, known_masks
from monai_retina_gen.editing.style_edit import parse_lesions
from monai_retina_gen.engines import load_segmenter
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.generators.inverter_loading import BundleInverter
from monai_retina_gen.weights import find_bundle, read_inference_config, read_metadata, split_bundle_name

__all__ = ["StyleEditing"]

logger = logging.getLogger(__name__)


class StyleEditing(RetinaGenerator):
    """Edits of lesions in photographs, for a generator that is given an inverter and directions."""

    network: Any
    edits_under_gate = True
    """`edit` takes `gate`, `groups`, `tries` and `masks`, and says in the records what it refused."""
    inverter: Inverter | None = None
    directions: Directions | None = None
    masker: Masker | None = None
    photograph_masker: Masker | None = None
    distance_limit: float = float("inf")
    _editor: LesionEditor | None = None

    def equip(
        self,
        *,
        inverter: Inverter | None = None,
        directions: Directions | None = None,
        masker: Masker | None = None,
        photograph_masker: Masker | None = None,
        distance_limit: float = float("inf"),
    ) -> StyleEditing:
        """Give what the modes `reconstruct` (an inverter) and `edit` (directions as well) need; returns itself.

        Args:
            inverter: finds the styles of photographs.
            directions: lesion directions of this network.
            masker: soft masks of the network's images; see `LesionEditor`.
            photograph_masker: finds the masks of edited photographs that are large enough for it; else `masker`.
            distance_limit: photographs whose reconstruction is farther away are returned unedited.
        """
        self.inverter, self.directions = inverter, directions
        self.masker, self.photograph_masker = masker, photograph_masker
        self.distance_limit, self._editor = distance_limit, None
        added = {"reconstruct"} if inverter is not None else set()
        added |= {"edit"} if inverter is not None and directions is not None else set()
        self.modes = type(self).modes | added
        return self

    def load_parts(self, bundle: Path, config_name: str = "inference") -> None:
        """Equip the generator with what its bundle has: directions, encoder, segmenter."""
        config = read_inference_config(bundle, config_name)
        self.equip(
            inverter=BundleInverter.of(bundle, config_name, self.network),
            directions=self._own_directions(bundle, str(config.get("directions_file", DIRECTIONS))),
            masker=_LazyMasks.of(config.get("segmenter")),
            photograph_masker=_LazyMasks.of(config.get("photograph_segmenter")),
            distance_limit=self._own_limit(bundle, config_name, config),
        )

    def _own_limit(self, bundle: Path, config_name: str, config: Mapping[str, Any]) -> float:
        measured = read_metadata(bundle).get("distance_limits", {}).get(config_name, {}).get("of", {})
        if measured.get("generator", self.weights_sha256) != self.weights_sha256:
            logger.warning("distance_limit of %s belongs to other weights: run `invert --store-limit` again", bundle)
            return float("inf")
        return float(config.get("distance_limit", "inf"))

    def _own_directions(self, bundle: Path, file: str) -> Directions | None:
        pin = read_metadata(bundle).get("weights", {}).get(file)
        if pin is None:
            return None
        if pin.get("of") != self.weights_sha256:  # the network was trained on: it still samples
            logger.warning("%s belongs to other weights: no edits until `directions` is run again", bundle / file)
            return None
        return load_directions(bundle, file, of=self.weights_sha256)

    def to(self, device: str | torch.device) -> StyleEditing:
        """Move the network and the inverter; returns the generator itself."""
        super().to(device)
        if isinstance(self.inverter, torch.nn.Module):
            self.inverter.to(device)
        self._editor = None
        return self

    @property
    def editor(self) -> LesionEditor:
        """What carries edits out; made at first use.

        Raises:
            UnsupportedModeError: without inverter or directions.
        """
        if self.inverter is None or self.directions is None:
            raise self._lacks("edit")
        if self._editor is None:
            self._editor = LesionEditor(
                self.network, self.inverter, self.directions, masker=self.masker, distance_limit=self.distance_limit
            )
        return self._editor

    def reconstruct(
        self, images: Tensor, grades: Sequence[int] | Tensor, *, sources: Sequence[str] | None = None, **options: Any
    ) -> GeneratedBatch:
        """The photographs inverted and generated again, unedited.

        Args:
            images: `(B, 3, image_size, image_size)` in [0, 1].
            grades: `B` grades.
            sources: identifiers of the photographs for the records.
            options: none are known; any raises `TypeError`.
        """
        if options:
            raise TypeError(f"unknown options {sorted(options)} for this generator")
        self.check_mode("reconstruct")
        assert self.inverter is not None  # check_mode
        images, grade = self.check_images(images), self.check_grades(grades)
        found = self.inverter(images, grade)
        names = sources or [""] * len(grade)
        records = [self.record("reconstruct", g, 0, source=n) for g, n in zip(grade.tolist(), names, strict=True)]
        return GeneratedBatch(found.image.detach().to(self.device), grade, records)

    def encode(self, images: Tensor, grades: Sequence[int] | Tensor | None = None) -> Tensor:
        """Styles `(B, K)` of photographs.

        Raises:
            UnsupportedModeError: without an inverter.
        """
        if self.inverter is None:
            raise UnsupportedModeError(f"generator {self.name!r} has no encoder")
        grade = (
            torch.zeros(len(images), dtype=torch.long, device=self.device)
            if grades is None
            else self.check_grades(grades)
        )
        return self.inverter(self.check_images(images), grade).styles

    def edit(
        self,
        images: Tensor,
        grades: Sequence[int] | Tensor,
        *,
        lesion: str | Sequence[str] = "ex",
        strength: float | Sequence[float] | Tensor | None = None,
        area_change: float | Sequence[float] | Tensor | None = None,
        blend: str = "delta",
        step: str | None = None,
        gate: str | Gate | None = None,
        groups: Sequence[str | None] | None = None,
        tries: int = 4,
        masks: Mapping[str, Tensor] | None = None,
        with_masks: bool = True,
        allow_excluded: bool = False,
        sources: Sequence[str] | None = None,
        **options: Any,
    ) -> GeneratedBatch:
        """The same eyes with more or less of a lesion, grade kept.

        Args:
            images: `(B, 3, H, H)` photographs in [0, 1], cropped to the field of view, H at least `image_size`.
            grades: `B` grades.
            lesion: `ma`, `he`, `ex`, `se`, or several at once as `"ex+he"`; one for all, or one for each image.
            strength: in [-1, 1], share of the direction's calibrated range; one for all, or one for each.
            area_change: instead of `strength`, the wanted relative change of the lesion's area, such as 0.25.
            blend: `delta` changes the photograph only around the lesion, at its own resolution; `replace` gives the
                generator's image.
            step: unit of the strength: `sigma`, `mu` or `max` (see `DirectionPreset`); by default the directions' own.
            gate: `None`, `"label"` or a `Gate`: the strongest edit up to `strength` that passes is made.
            groups: of the photographs, for a cross-fitted gate.
            tries: edits of an image at most, under the gate.
            masks: lesion masks of the photographs, `(B, 1, H, H)` by name, where they are known.
            with_masks: find the masks of the edited images again, where the segmenter knows their size.
            allow_excluded: edit also lesions that the grade excludes (any at grade 0, all but `ma` at grade 1).
            sources: identifiers of the photographs for the records.
            options: what records of edits hold besides; any other raises `TypeError`.

        Returns:
            Edited images. One that was refused (by its grade, its inversion or the gate) is the photograph bit for bit,
            and `records[i].options["refused"]` says why.

        Raises:
            ImageValueError: for images or masks of another size, without retina or without colour.
            ValueError: for an unknown lesion, a strength outside [-1, 1], or lists of unequal length.
            UnsupportedModeError: without inverter or directions.
        """
        unknown = sorted(set(options) - {"distance", "refused"})
        if unknown:
            raise TypeError(f"unknown options {unknown} for this generator")
        grade, editor = self.check_grades(grades), self.editor
        images = _checked(images, len(grade)).to(self.device)
        lesions = [parse_lesions(each, editor.directions.lesions) for each in _each(lesion, len(grade))]
        excluded = [_excluded(g, each, allow_excluded) for g, each in zip(grade.tolist(), lesions, strict=True)]
        rows = [i for i, reason in enumerate(excluded) if not reason]
        request = EditRequest(
            [lesions[i] for i in rows],
            _numbers(strength, len(grade), rows, None if area_change is not None else 1.0),
            _numbers(area_change, len(grade), rows, None),
            blend=blend,
            step=step,
            gate=resolve_gate(gate),
            groups=None if groups is None else [groups[i] for i in rows],
            tries=tries,
            masks={name: mask[rows].to(self.device) for name, mask in (masks or {}).items()},
        )
        done = editor.edit(images[rows], grade[rows], request) if rows else None
        return self._finished(images, grade, lesions, excluded, rows, done, request, sources, with_masks)

    def _finished(
        self,
        images: Tensor,
        grade: Tensor,
        lesions: list[tuple[str, ...]],
        refused: list[str],
        rows: list[int],
        done: EditedPhotographs | None,
        request: EditRequest,
        sources: Sequence[str] | None,
        with_masks: bool,
    ) -> GeneratedBatch:
        made, notes = images.clone(), [{"refused": reason} for reason in refused]
        assert self.directions is not None  # `editor` was there
        if done is not None:
            made[rows] = done.image
            for i, row in enumerate(rows):
                notes[row] = {
                    "strength": round(float(done.strength[i]), 6),
                    "blend": request.blend,
                    "step": request.step or self.directions.step,
                    "distance": round(float(done.distance[i]), 6),
                } | ({"refused": done.refused[i]} if done.refused[i] else {})  # type: ignore[assignment]
        names = list(sources or [""] * len(grade))
        verified = {"label": f"verified by {done.judge}"} if done is not None and done.judge else {}
        records = [
            self.record(
                "edit", g, 0, source=names[i], options={"lesion": "+".join(lesions[i]), **notes[i]},
                **({} if "refused" in notes[i] else verified),
            )
            for i, g in enumerate(grade.tolist())
        ]  # fmt: skip
        found = (known_masks(self.photograph_masker, made) or self.editor.masks(made)) if with_masks else {}
        return GeneratedBatch(made, grade, records, {name: (mask >= 0.5).float() for name, mask in found.items()})


class _LazyMasks:
    """Masks of a bundle's segmenter, which is loaded at first use, where the images are."""

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle
        name, config_name = split_bundle_name(bundle)
        self.side = int(read_inference_config(find_bundle(name), config_name).get("image_size", 0))
        self._masks: tuple[torch.device, SegmenterMasks] | None = None

    @classmethod
    def of(cls, bundle: str | None) -> _LazyMasks | None:
        """That bundle's, if one is named."""
        return cls(bundle) if bundle else None

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        if self._masks is None or self._masks[0] != images.device:
            segmenter = load_segmenter(self.bundle, device=images.device, flips=False)
            self._masks = (images.device, SegmenterMasks(segmenter, batch_size=8))
        return self._masks[1](images)


def _checked(images: Tensor, count: int) -> Tensor:
    if images.ndim != 4 or images.shape[:2] != (count, 3):
        raise ImageValueError(f"images {tuple(images.shape)} for {count} grades: want ({count}, 3, H, H)")
    images = images.float()
    if not images.isfinite().all() or (len(images) and (images.min() < 0 or images.max() > 1)):
        raise ImageValueError(f"images must be finite and in [0, 1], got [{images.min()}, {images.max()}]")
    return images


def _each(lesion: str | Sequence[str], count: int) -> list[str]:
    each = [lesion] * count if isinstance(lesion, str) else list(lesion)
    if len(each) != count:
        raise ValueError(f"{len(each)} lesions for {count} images: give one for all, or one for each")
    return each


def _numbers(values: Any, count: int, rows: list[int], default: float | None) -> Tensor | None:
    if values is None and default is None:
        return None
    found = torch.as_tensor(default if values is None else values, dtype=torch.float32).reshape(-1).cpu()
    found = found.expand(count) if len(found) == 1 else found
    if len(found) != count or not bool(found.isfinite().all()):
        raise ValueError(f"{values!r} for {count} images: give one finite number for all, or one for each")
    return found[rows]


def _excluded(grade: int, lesions: tuple[str, ...], allowed: bool) -> str:
    foreign = [name for name in lesions if name not in GRADE_LESIONS.get(grade, lesions)]
    if allowed or not foreign:
        return ""
    return f"grade {grade} excludes {', '.join(foreign)}: an edit would change the label (allow_excluded=True edits it)"
