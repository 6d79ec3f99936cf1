"""The one interface over every trained generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing.edit_request import EditRequest, check_range, one_each
from monai_retina_gen.editing.gated_edits import GatedEdits, PendingEdits, strongest_accepted
from monai_retina_gen.editing.label_gate import Gate, resolve_gate
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError

MODES = {
    "sample": "another eye of the same grade",
    "reconstruct": "the same photograph through the generator, unedited",
    "edit": "the same eye with other lesions",
    "synthesize": "an eye from masks and a grade",
}
_BUNDLES_WITH = {
    "sample": "retina_drgan, retina_vae, retina_wgan, retina_wgan_gp, retina_stylegan3",
    "reconstruct": "retina_vae, retina_stylegan3",
    "edit": "retina_lesion_painter, retina_drgan, retina_stylegan3",
    "synthesize": "retina_drgan, retina_lesion_painter (on photographs)",
}


@dataclass
class GeneratedBatch:
    """Images `(B, 3, H, W)` float32 in [0, 1] that a generator made, on its device; ordinary tensors, fit to train on.

    `grade` is `(B,)`, `records` say how each was made, `masks` are `(B, 1, H, W)` in [0, 1] by name, where the mode
    makes them.
    """

    image: Tensor
    grade: Tensor
    records: list[GenerationRecord]
    masks: dict[str, Tensor] = field(default_factory=dict)


def decimal(value: Tensor) -> float:
    """The shortest decimal number that is the same float32: an edit that is made again with it is the same."""
    return float(str(np.float32(float(value))))


class RetinaGenerator:
    """Base of all generators: a network with its identity, and the modes that it has.

    A subclass sets `modes`, `image_size` and `num_classes`, and implements the methods of its modes.
    `identify` tells it which bundle it came from; the records name it.

    Args:
        network: the network, in evaluation mode from here on.
    """

    modes: frozenset[str] = frozenset()
    edit_options: frozenset[str] = frozenset()
    """Options of `edit` that only this generator has; see its `begin_edits`."""
    own_masks_options: Mapping[str, Any] = MappingProxyType({})
    """Options of `synthesize` for the masks of a real eye: what would be odd to ask for may well be there."""
    image_size: int
    num_classes: int = 5

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()
        self.name, self.version, self.weights_sha256 = type(self).__name__, "0", ""

    def identify(self, *, name: str, version: str, weights_sha256: str) -> None:
        """Set the identity that the records carry."""
        self.name, self.version, self.weights_sha256 = name, version, weights_sha256

    def load_parts(self, bundle: Path, config_name: str = "inference") -> None:
        """Take further parts from the bundle that the generator was loaded from, such as an encoder; none here."""

    @property
    def device(self) -> torch.device:
        """Where the network is, whoever moved it: read from its parameters, else from its buffers."""
        first = next(chain(self.network.parameters(), self.network.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    def to(self, device: str | torch.device) -> RetinaGenerator:
        """Move the network; returns the generator itself."""
        self.network.to(device)
        return self

    def sample(
        self, grades: Sequence[int] | Tensor, *args: Any, seeds: Sequence[int], **options: Any
    ) -> GeneratedBatch:
        """Images for `B` grades: one seed each; `args` are none, and `options` the generator's own.

        `UnsupportedModeError` for a generator that does not sample, or not these grades, `TypeError` for an option
        that it does not know, `ValueError` for a grade outside its scale, or another number of seeds.
        """
        raise self._lacks("sample")

    def reconstruct(self, images: Tensor, grades: Sequence[int] | Tensor, **options: Any) -> GeneratedBatch:
        """The same photographs through the generator at edit strength 0; see `sample`."""
        raise self._lacks("reconstruct")

    def edit(
        self,
        images: Tensor,
        grades: Sequence[int] | Tensor,
        *,
        seeds: Sequence[int] | None = None,
        lesion: str | Sequence[str] = "",
        strength: float | Sequence[float] | Tensor = 1.0,
        masks: Mapping[str, Tensor] | None = None,
        gate: str | Gate | None = None,
        groups: Sequence[str | None] | None = None,
        tries: int = 4,
        sources: Sequence[str] | None = None,
        **options: Any,
    ) -> GeneratedBatch:
        """The same eyes with other lesions, grade kept.

        Args:
            images: `(B, 3, H, H)` photographs in [0, 1], cropped to the field of view.
            grades: `B` grades.
            seeds: of each, where edits are drawn at random.
            lesion: `ma`, `he`, `ex`, `se`, or several at once as `"ex+he"`; one for all, or one for each image. `""`
                leaves the choice to generators that can make it.
            strength: in [-1, 1], a share of what the generator can do; one for all, or one for each.
            masks: annotated masks of the photographs, `(B, 1, H, H)` by name. They come back as they are after the
                edit: only the edited lesions' change, and only where the edit is.
            gate: `None`, `"label"` or a `Gate`: the strongest edit up to `strength` that passes is made.
            groups: photographs or patients that the images belong to, for a cross-fitted gate.
            tries: edits of an image at most, under the gate.
            sources: identifiers of the photographs for the records.
            options: the generator's own, those of its `edit_options`.

        Returns:
            Edited images on the generator's device. One that was refused is the photograph bit for bit, and
            `records[i].options["refused"]` says why.

        Raises:
            UnsupportedModeError: for a generator that cannot edit.
            TypeError: for an option that the generator does not know.
            ImageValueError: for images or masks of another shape, or values outside [0, 1].
            ValueError: for an unknown lesion, a strength outside [-1, 1], or lists of unequal length.
        """
        self.check_mode("edit")
        unknown = sorted(set(options) - self.edit_options)
        if unknown:
            raise TypeError(f"edit: unknown options {unknown}; generator {self.name!r} has {sorted(self.edit_options)}")
        with torch.no_grad():
            request = EditRequest.of(
                images, self.check_grades(grades), lesion=lesion, strength=strength, seeds=seeds, masks=masks,
                groups=groups,
            )  # fmt: skip
            pending = self.begin_edits(request, **options)
            done = GatedEdits(pending, request, resolve_gate(gate))
            done.finish(*strongest_accepted(done.attempt, done.asked, tries=tries if gate else 1))
            changed = dict(pending.masks(done.image, done.strength))
        names = one_each("sources", "" if sources is None else sources, len(request.grades))
        records = [self._edit_record(done, row, name) for row, name in enumerate(names)]
        return GeneratedBatch(done.image, request.grades, records, changed)

    def begin_edits(self, request: EditRequest, *args: Any, **options: Any) -> PendingEdits:
        """What a generator with the mode `edit` implements: the edits of a checked request, ready to be drawn.

        `args` are none; they let subclasses write out their options, those of `edit_options`.
        """
        raise self._lacks("edit")

    def _edit_record(self, done: GatedEdits, row: int, source: str) -> GenerationRecord:
        request, refused = done.request, done.refused[row]
        used = {"strength": decimal(done.strength[row])}
        options = {"lesion": request.lesions[row], **used, **done.pending.note(row)}
        if request.masks:
            options["masks"] = sorted(request.masks)
        if refused:
            options["refused"] = refused
        verified = {"label": f"verified by {done.judge}"} if done.judge and not refused else {}
        grade, seed = int(request.grades[row]), request.seeds[row]
        return self.record("edit", grade, seed, source=source, options=options, **verified)

    def synthesize(
        self,
        masks: Mapping[str, Tensor] | None = None,
        grades: Sequence[int] | Tensor | None = None,
        *,
        seeds: Sequence[int],
        **options: Any,
    ) -> GeneratedBatch:
        """Images from masks and grades; on `canvas=photographs`, for generators that paint."""
        raise self._lacks("synthesize")

    def encode(self, images: Tensor, grades: Sequence[int] | Tensor | None = None) -> Tensor:
        """Latents of photographs."""
        raise UnsupportedModeError(f"generator {self.name!r} has no encoder")

    @property
    def missing_grades(self) -> frozenset[int]:
        """Grades that `sample` cannot serve, such as those for which curation has kept nothing."""
        return frozenset()

    def check_mode(self, mode: str) -> None:
        """Raise `UnsupportedModeError` where the generator lacks `mode`, naming who has it."""
        if mode not in self.modes:
            raise self._lacks(mode)

    def check_grades(self, grades: Sequence[int] | Tensor) -> Tensor:
        """Grades as `(B,)` int64 on the generator's device; `ValueError` for one outside its scale."""
        values = torch.as_tensor(grades).reshape(-1)
        if values.is_floating_point() and not torch.equal(values, values.round()):
            raise ValueError(f"grades must be whole numbers, got {values.tolist()[:8]}")
        bad = [g for g in values.tolist() if not 0 <= g < self.num_classes]
        if bad:
            raise ValueError(f"grades {bad[:8]} are outside 0-{self.num_classes - 1} of generator {self.name!r}")
        return values.long().to(self.device)

    def check_pairs(self, grades: Sequence[int] | Tensor, seeds: Sequence[int]) -> Tensor:
        """Grades as `check_grades` gives them; `ValueError` unless there is a seed for each."""
        grade = self.check_grades(grades)
        if len(seeds) != len(grade):
            raise ValueError(f"{len(grade)} grades need as many seeds, got {len(seeds)}")
        return grade

    def check_images(self, images: Tensor) -> Tensor:
        """Images as `(B, 3, image_size, image_size)` float32 in [0, 1] on the device; `ImageValueError` otherwise."""
        shape = (3, self.image_size, self.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise ImageValueError(f"generator {self.name!r} reads (B, {shape}) images, got {tuple(images.shape)}")
        images = images.to(self.device, torch.float32)
        check_range(images)
        return images

    def record(self, mode: str, grade: int, seed: int, **fields: Any) -> GenerationRecord:
        """Record of one image of this generator."""
        return GenerationRecord(
            generator=self.name,
            version=self.version,
            weights_sha256=self.weights_sha256,
            mode=mode,
            grade=int(grade),
            seed=int(seed),
            image_size=self.image_size,
            **fields,
        )

    def records(
        self,
        mode: str,
        grades: Tensor,
        seeds: Sequence[int] | None = None,
        *,
        sources: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[GenerationRecord]:
        """Records of a batch, whose images were made with the same options."""
        count = len(grades)
        each = zip(grades.tolist(), seeds or [0] * count, sources or [""] * count, strict=True)
        return [self.record(mode, g, s, source=name, options=dict(options or {})) for g, s, name in each]

    def _lacks(self, mode: str) -> UnsupportedModeError:
        if mode not in MODES:
            return UnsupportedModeError(f"unknown mode {mode!r}: the modes are {', '.join(MODES)}")
        return UnsupportedModeError(
            f"generator {self.name!r} has no mode {mode!r} ({MODES[mode]}); it has {sorted(self.modes)}. "
            f"Bundles that have it: {_BUNDLES_WITH[mode]}."
        )
