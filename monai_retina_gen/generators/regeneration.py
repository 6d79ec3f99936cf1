"""Making an image again from its record."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.generators.lesion_painting import HEALTHY
from monai_retina_gen.generators.loading import load_generator


def regenerate(
    record: GenerationRecord | str,
    *,
    source: Tensor | None = None,
    masks: Mapping[str, Tensor] | None = None,
    bundle: str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> GeneratedBatch:
    """Make an image again: a sample from its record alone, others from what they were made of as well.

    Args:
        record: the image's record, or its JSON text, as an item's `image_generated` holds it.
        source: `(3, H, W)` in [0, 1], the photograph that was edited or reconstructed, as it was then.
        masks: `(1, H, W)` by name, those that the record names under `masks`, as they were given to the generator.
        bundle: where the generator's bundle lies, if not where `load_generator` finds it by name.
        device: where to run; the result is the same to within 1/255 on every device.

    Returns:
        A batch of one. An edit that was refused is the photograph, with its record; so is a canvas.

    Raises:
        WeightsError: if the bundle found is not the version and weights that made the image.
        ValueError: if the photograph or masks are needed and missing, or the text is no record.
    """
    record = GenerationRecord.from_json(record) if isinstance(record, str) else record
    own, images = _needed(record, source, masks)
    if record.options.get("refused") and images is not None:
        grade = HEALTHY if record.options.get("canvas") else record.grade
        return GeneratedBatch(images, torch.tensor([grade]), [record], own)
    generator = load_generator(bundle or record.generator, device=device)
    _check_weights(generator, record)
    known, grades, seeds = _arguments(generator, record), [record.grade], [record.seed]
    if record.mode == "sample":
        return generator.sample(grades, seeds=seeds, **record.options)
    if record.mode == "synthesize":
        known |= {"canvas": images} if record.options.get("canvas") else {}
        return generator.synthesize(own, grades, seeds=seeds, sources=[record.source], **known)
    assert images is not None  # _needed
    if record.mode == "reconstruct":
        return generator.reconstruct(images, grades, sources=[record.source], **known)
    return generator.edit(images, grades, seeds=seeds, masks=own, sources=[record.source], **known)


def _needed(
    record: GenerationRecord, source: Tensor | None, masks: Mapping[str, Tensor] | None
) -> tuple[dict[str, Tensor], Tensor | None]:
    """What the image was made of, as batches of one."""
    if (record.mode in ("edit", "reconstruct") or record.options.get("canvas")) and source is None:
        raise ValueError(f"source: none came; the image needs its photograph ({record.source!r})")
    named, given = record.options.get("masks", []), dict(masks or {})
    lacking = [name for name in named if name not in given]
    if lacking:
        raise ValueError(f"masks: the image was made with {named}, and {lacking} did not come (of {record.source!r})")
    own = {name: given[name].as_subclass(Tensor)[None] for name in named}
    return own, None if source is None else source.as_subclass(Tensor)[None]


def _check_weights(generator: RetinaGenerator, record: GenerationRecord) -> None:
    if generator.weights_sha256 != record.weights_sha256:
        raise WeightsError(
            f"the record names {record.generator} {record.version} with weights {record.weights_sha256[:12]}, but "
            f"{generator.version} was found, with {generator.weights_sha256[:12]}"
        )


def _arguments(generator: RetinaGenerator, record: GenerationRecord) -> dict[str, Any]:
    """The options of a record that are arguments of the generator; the others say what was found."""
    known = set(inspect.signature(getattr(generator, record.mode)).parameters) | generator.edit_options
    if record.options.get("canvas"):
        known = {"lesion", "strength", "made_with"}
    return {name: value for name, value in record.options.items() if name in known and name != "masks"}
