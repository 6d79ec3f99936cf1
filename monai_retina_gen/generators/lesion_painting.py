"""Painting on photographs: the mode `edit`, and `synthesize` on canvases, of generators with a painter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.data import CONDITION_KEYS, LesionBank, MaskComposer
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing.edit_request import EditRequest, one_each
from monai_retina_gen.editing.gated_edits import GatedEdits, strongest_accepted
from monai_retina_gen.editing.lesion_masks import Masker
from monai_retina_gen.editing.painting import (
    PAINTING_EDITS,
    HolePainter,
    LimitedSize,
    OwnMasks,
    PaintedEdits,
    Painter,
    needed_masks,
)
from monai_retina_gen.errors import UnsupportedModeError, WeightsError
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator, decimal
from monai_retina_gen.generators.bundle_parts import BundleComposer, BundleMasks
from monai_retina_gen.networks import PAINTED_LESIONS, LesionPainter
from monai_retina_gen.weights import read_inference_config

HEALTHY = 0
"""Grade of the photographs that canvases are."""


class LesionPainting(RetinaGenerator):
    """Paints lesions on photographs, for a generator that is given a painter.

    `changes` are those of `PAINTING_EDITS` that its painter can make.
    """

    edit_options = frozenset({"change", "with_masks", "made_with"})
    changes: tuple[str, ...] = PAINTING_EDITS
    painter: Painter | None = None
    own_masks: OwnMasks | None = None
    composer: Callable[[], MaskComposer] | None = None

    def equip(
        self,
        painter: Painter,
        *,
        masker: Masker | None = None,
        composer: Callable[[], MaskComposer] | MaskComposer | None = None,
    ) -> LesionPainting:
        """Give what painting needs; returns itself.

        Without a masker photographs must come with all masks; without a composer, or a function that gives one, no
        lesions can be added.
        """
        self.painter, self.own_masks = painter, OwnMasks(masker)
        self.composer = (lambda: composer) if isinstance(composer, MaskComposer) else composer
        self.modes = self.modes | {"edit"} | ({"synthesize"} if composer is not None else set())
        return self

    def begin_edits(  # options written out
        self,
        request: EditRequest,
        *,
        change: str = "add",
        with_masks: bool = False,
        made_with: Mapping[str, str] | None = None,
    ) -> PaintedEdits:
        """Paintings, ready to be drawn; the strength is the share of the pieces that come or go.

        Args:
            request: square photographs of at least 128 px, cropped to the field of view.
            change: `"add"` lesions of the grade's kind and number, `"replace"` the eye's own by such, or `"remove"`.
            with_masks: give the masks of all painted lesions, not only those that came.
            made_with: lesion bank and segmenter as a record names them: others are an error.
        """
        return self._painted(request, change, with_masks=with_masks, made_with=made_with)

    def paint_canvases(
        self,
        canvas: Tensor,
        grades: Sequence[int] | Tensor | None,
        *,
        seeds: Sequence[int],
        masks: Mapping[str, Tensor] | None = None,
        canvas_grades: Sequence[int] | int = HEALTHY,
        lesion: str | Sequence[str] = "",
        strength: float | Sequence[float] | Tensor = 1.0,
        sources: Sequence[str] | None = None,
        made_with: Mapping[str, str] | None = None,
    ) -> GeneratedBatch:
        """Healthy eyes, canvases `(B, 3, H, H)` in [0, 1], cropped to the field of view, with the lesions of a grade.

        `masks` are those of the canvases; disc and vessels are found where they are not given, lesions that are not
        given are absent. Another grade than 0 among `canvas_grades` is an error. `strength` is the share of the
        composed pieces that are placed, in [0, 1]; `lesion` and errors are those of `RetinaGenerator.edit`, `made_with`
        that of `begin_edits`.

        Returns:
            Images with all masks of `CONDITION_KEYS`. A canvas that cannot be painted comes back as it is, with its own
            grade 0 in `grade`, and the reason under `refused` in its record.
        """
        if grades is None:
            raise ValueError("grades: none came; a canvas says nothing of the grade that it shall have")
        grade = self.check_grades(grades)
        _check_healthy(one_each("canvas_grades", canvas_grades, len(grade)))
        request = EditRequest.of(canvas, grade, lesion=lesion, strength=strength, seeds=seeds, masks=masks)
        pending = self._painted(request, "add", with_masks=True, made_with=made_with, healthy=True)
        done = GatedEdits(pending, request)
        done.finish(*strongest_accepted(done.attempt, done.asked, tries=1))
        names = one_each("sources", "" if sources is None else sources, len(grade))
        records = [self._canvas_record(done, row, name) for row, name in enumerate(names)]
        kept = torch.tensor([not reason for reason in done.refused], device=grade.device)
        empty = torch.zeros_like(request.images[:, :1])
        found = {**pending.own, **pending.masks(done.image, done.strength)}
        known = {name: found.get(name, empty) for name in CONDITION_KEYS}
        return GeneratedBatch(done.image, torch.where(kept, grade, HEALTHY), records, known)

    def found_masks(self, photographs: Tensor, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks that painting needs, `(B, 1, H, W)` by name: those that are given, else found by the segmenter.

        `ImageValueError` for a photograph without retina or colour, or masks that nobody can find.
        """
        if self.painter is None or self.own_masks is None:
            raise self._lacks("edit")
        return self.own_masks(photographs, given, needed_masks(self.painter))

    def _painted(
        self,
        request: EditRequest,
        change: str,
        *,
        with_masks: bool,
        made_with: Mapping[str, str] | None,
        healthy: bool = False,
    ) -> PaintedEdits:
        if self.painter is None or self.own_masks is None:
            raise self._lacks("edit")
        if change in PAINTING_EDITS and change not in self.changes:
            raise UnsupportedModeError(
                f"change {change!r}: generator {self.name!r} can {', '.join(self.changes)}; retina_lesion_painter can "
                f"{', '.join(PAINTING_EDITS)}"
            )
        used = self._made_with(change, [*request.masks, *(PAINTED_LESIONS if healthy else ())], healthy)
        _check_made_with(used, made_with)
        return PaintedEdits(
            self.painter,
            self.own_masks,
            self._composer,
            request,
            change=change,
            with_masks=with_masks,
            unmasked_healthy=healthy,
            made_with=used,
        )

    def _composer(self) -> MaskComposer:
        if self.composer is None:
            raise UnsupportedModeError(f"generator {self.name!r} has no lesion bank: it cannot add lesions")
        return self.composer()

    def _made_with(self, change: str, masks: Collection[str], vessels: bool) -> dict[str, str]:
        """Parts that paintings depend on besides the weights."""
        assert self.painter is not None  # _painted
        assert self.own_masks is not None
        needed = {*needed_masks(self.painter), *(["vessel"] if vessels else [])}
        masker, lacking = self.own_masks.masker, needed - set(masks)
        named = str(getattr(masker, "identity", type(masker).__name__))
        used = {"segmenter": named} if masker is not None and lacking else {}
        return used if change == "remove" else {**used, "lesion_bank": _digest(self._composer().bank)}

    def _canvas_record(self, done: GatedEdits, row: int, source: str) -> GenerationRecord:
        request = done.request
        options = {"canvas": True, "strength": decimal(request.strengths[row]), **done.pending.note(row)}
        options = {name: value for name, value in options.items() if name not in ("change", "with_masks")}
        if request.masks:
            options["masks"] = sorted(request.masks)
        if done.refused[row]:
            options["refused"] = done.refused[row]
        grade = int(request.grades[row])
        return self.record("synthesize", grade, request.seeds[row], source=source, options=options)


@lru_cache(maxsize=8)
def _digest(bank: LesionBank) -> str:
    return bank.digest()


def _check_healthy(grades: Sequence[Any]) -> None:
    wrong = sorted({grade for grade in grades if grade != HEALTHY}, key=str)
    if wrong:
        raise ValueError(
            f"canvas_grades: {wrong[:8]} came; canvases are photographs of healthy eyes (grade 0), since what an eye "
            "shows already would count towards another grade"
        )


def _check_made_with(have: Mapping[str, str], wanted: Mapping[str, str] | None) -> None:
    wrong = [name for name, asked in (wanted or {}).items() if have.get(name) != asked]
    if wrong and wanted:
        each = ", ".join(f"{name} {wanted[name][:40]!r}, but {str(have.get(name))[:40]!r} was found" for name in wrong)
        raise WeightsError(f"made_with: the record names {each}: install that version of its bundle")


class LesionPainterGenerator(LesionPainting):
    """Adds lesions to photographs, replaces them, and takes them away, by a `LesionPainter`.

    Photographs up to `image_size` are painted at their own size, larger ones at `image_size`; see `LimitedSize`.

    Args:
        network: the trained `LesionPainter`.
        image_size: diameter of the field of view in pixels at which it was trained.
        margin: distance from a lesion that changes to the edge of its hole, in pixels.
        batch_size: photographs per forward pass.

    Examples:
        >>> from monai_retina_gen.data import PhantomDataset
        >>> from monai_retina_gen.networks import LesionPainter
        >>> generator = LesionPainterGenerator(LesionPainter(channels=(4, 8)))
        >>> eye = PhantomDataset(length=1, size=128, grades=[2], masks=True)[0]
        >>> masks = {key: eye[key][None] for key in ("fov", "od", "vessel", "ma", "he", "ex", "se")}
        >>> batch = generator.edit(eye["image"][None], [2], masks=masks, lesion="he", change="remove", strength=0.5)
        >>> bool(batch.masks["he"].sum() < masks["he"].sum())
        True
    """

    modes = frozenset({"edit"})
    network: Any

    def __init__(self, network: LesionPainter, *, image_size: int = 512, margin: int = 8, batch_size: int = 8) -> None:
        super().__init__(network)
        self.image_size = check_whole("image_size", image_size)
        painter = HolePainter(network, margin=margin, batch_size=batch_size)
        self.equip(LimitedSize(painter, side=self.image_size))

    def load_parts(self, bundle: Path, config_name: str = "inference") -> None:
        """Take the segmenter and the lesion bank that the bundle names, each at first use."""
        config = read_inference_config(bundle, config_name)
        masker, composer = BundleMasks.of(config.get("photograph_segmenter")), config.get("lesion_bank")
        assert self.painter is not None  # __init__
        self.equip(self.painter, masker=masker, composer=BundleComposer(str(composer)) if composer else None)

    def synthesize(
        self,
        masks: Mapping[str, Tensor] | None = None,
        grades: Sequence[int] | Tensor | None = None,
        *,
        seeds: Sequence[int],
        canvas: Tensor | None = None,
        **options: Any,
    ) -> GeneratedBatch:
        """Canvases painted to grades; see `LesionPainting.paint_canvases` for the options.

        `ValueError` without a canvas.
        """
        if canvas is None:
            raise ValueError(
                f"canvas: none came; {self.name} paints on photographs and draws none: give canvas=photographs of "
                "healthy eyes, or take retina_drgan, which makes whole images of masks"
            )
        return self.paint_canvases(canvas, grades, seeds=seeds, masks=masks, **options)
