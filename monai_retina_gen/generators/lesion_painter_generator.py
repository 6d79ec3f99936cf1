"""The painter of lesions as a generator: photographs with other lesions, and healthy photographs with some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.editing.painting import HolePainter, LimitedSize
from monai_retina_gen.generators.base import GeneratedBatch
from monai_retina_gen.generators.bundle_parts import BundleComposer, BundleMasks
from monai_retina_gen.generators.lesion_painting import LesionPainting
from monai_retina_gen.networks import LesionPainter
from monai_retina_gen.weights import read_inference_config


class LesionPainterGenerator(LesionPainting):
    """Adds lesions to photographs, replaces them, and takes them away, by a `LesionPainter`.

    Photographs up to `image_size` are painted at their own size, larger ones at `image_size`; see `LimitedSize`.

    Args:
        network: the trained `LesionPainter`.
        image_size: diameter of the field of view in pixels at which it was trained.
        margin: distance from a lesion that changes to the edge of its hole, in pixels.
        batch_size: photographs per forward pass.

    Examples:
        >>> import torch
        >>> from monai_retina_gen.data import PhantomDataset
        >>> from monai_retina_gen.networks import LesionPainter
        >>> generator = LesionPainterGenerator(LesionPainter(channels=(4, 8)))
        >>> eye = PhantomDataset(length=1, size=128, grades=[2], masks=True)[0]
        >>> masks = {key: eye[key][None] for key in ("fov", "od", "vessel", "ma", "he", "ex", "se")}
        >>> batch = generator.edit(eye["image"][None], [2], masks=masks, lesion="he", change="remove", strength=0.5)
        >>> batch.records[0].options["change"], bool(batch.masks["he"].sum() < masks["he"].sum())
        ('remove', True)
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
        """Canvases painted to grades; see `LesionPainting.paint_canvases` for the options."""
        if canvas is None:
            raise ValueError(
                f"canvas: none came; {self.name} paints on photographs and draws none: give canvas=photographs of "
                "healthy eyes, or take retina_drgan, which makes whole images of masks"
            )
        return self.paint_canvases(canvas, grades, seeds=seeds, masks=masks, **options)
