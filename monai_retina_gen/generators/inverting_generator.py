"""The modes `reconstruct` and `edit` of generators with a style space, into which photographs are inverted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.editing.edit_request import EditRequest
from monai_retina_gen.editing.lesion_masks import Masker
from monai_retina_gen.editing.style.directions import DIRECTIONS, Directions, load_directions
from monai_retina_gen.editing.style.inversion import Inverter
from monai_retina_gen.editing.style.pending_style_edits import PendingStyleEdits
from monai_retina_gen.editing.style.style_space_editor import StyleSpaceEditor
from monai_retina_gen.errors import UnsupportedModeError
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.generators.bundle_parts import BundleInverter, BundleMasks
from monai_retina_gen.weights import read_inference_config, read_metadata

logger = logging.getLogger(__name__)


class InvertingGenerator(RetinaGenerator):
    """Base of generators that can be given an inverter of photographs, and lesion directions for edits of them."""

    network: Any
    edit_options = frozenset({"area_change", "blend", "step", "allow_excluded", "allow_upsampling", "with_masks"})
    inverter: Inverter | None = None
    directions: Directions | None = None
    distance_limit: float = float("inf")
    own_modes: frozenset[str] = frozenset({"sample"})
    _editor: StyleSpaceEditor | None = None

    def equip(
        self,
        *,
        inverter: Inverter | None = None,
        directions: Directions | None = None,
        masker: Masker | None = None,
        photograph_masker: Masker | None = None,
        distance_limit: float = float("inf"),
    ) -> InvertingGenerator:
        """Give what the modes `reconstruct` (an inverter) and `edit` (directions as well) need; returns itself.

        Maskers and limit are those of `StyleSpaceEditor`.
        """
        self.inverter, self.directions, self.distance_limit, self._editor = inverter, directions, distance_limit, None
        added = {"reconstruct"} if inverter is not None else set()
        if inverter is not None and directions is not None:
            added.add("edit")
            self._editor = StyleSpaceEditor(
                self.network,
                inverter,
                directions,
                masker=masker,
                photograph_masker=photograph_masker,
                distance_limit=distance_limit,
            )
        self.modes = self.own_modes | added
        return self

    def load_parts(self, bundle: Path, config_name: str = "inference") -> None:
        """Equip the generator with what its bundle has: directions, encoder, segmenter."""
        config = read_inference_config(bundle, config_name)
        self.equip(
            inverter=BundleInverter.of(bundle, config_name, self.network),
            directions=self._own_directions(bundle, str(config.get("directions_file", DIRECTIONS))),
            masker=BundleMasks.of(config.get("segmenter")),
            photograph_masker=BundleMasks.of(config.get("photograph_segmenter")),
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

    def to(self, device: str | torch.device) -> InvertingGenerator:
        """Move the network and the inverter; returns the generator itself."""
        super().to(device)
        if isinstance(self.inverter, torch.nn.Module):
            self.inverter.to(device)
        if self._editor is not None:
            self._editor.cache.clear()
        return self

    @property
    def editor(self) -> StyleSpaceEditor:
        """What carries edits out; `UnsupportedModeError` without inverter or directions."""
        if self._editor is None:
            raise self._lacks("edit")
        return self._editor

    def reconstruct(  # type: ignore[override]  # options written out
        self, images: Tensor, grades: Sequence[int] | Tensor, *, sources: Sequence[str] | None = None
    ) -> GeneratedBatch:
        """The photographs inverted and generated again, unedited."""
        self.check_mode("reconstruct")
        assert self.inverter is not None  # check_mode
        images, grade = self.check_images(images), self.check_grades(grades)
        found = self.inverter(images, grade)
        records = self.records("reconstruct", grade, sources=sources)
        return GeneratedBatch(found.image.detach().to(self.device), grade, records)

    def encode(self, images: Tensor, grades: Sequence[int] | Tensor | None = None) -> Tensor:
        """Styles `(B, K)` of photographs; `UnsupportedModeError` without an inverter."""
        if self.inverter is None:
            raise UnsupportedModeError(f"generator {self.name!r} has no encoder")
        grade = self.check_grades([0] * len(images) if grades is None else grades)
        return self.inverter(self.check_images(images), grade).styles

    def begin_edits(self, request: EditRequest, *args: Any, **options: Any) -> PendingStyleEdits:
        """Edits in the style space, ready to be drawn; options and errors are those of `PendingStyleEdits`."""
        return PendingStyleEdits(self.editor, request, *args, **options)
