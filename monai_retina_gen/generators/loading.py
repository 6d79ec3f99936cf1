"""Loading a generator from a bundle that describes itself, and making an image again from its record."""

from __future__ import annotations

import os

import torch

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.weights import (
    CHECKPOINT,
    build_from_bundle,
    find_bundle,
    load_weights,
    pinned_sha256,
    read_metadata,
    sha256_file,
)

__all__ = ["load_generator", "regenerate"]


def load_generator(
    source: str | os.PathLike[str] | RetinaGenerator,
    *,
    device: str | torch.device = "cpu",
    trust_code: bool = False,
) -> RetinaGenerator:
    """A trained generator.

    Args:
        source: a bundle's name, its folder, or an object that has the methods of `RetinaGenerator` (returned as it is).
        device: where it runs.
        trust_code: allow the bundle's configuration to run any code. Only for bundles whose author you trust.

    Returns:
        The generator, in evaluation mode.

    Raises:
        BundleNotFoundError: if there is no such bundle; lists where it looked.
        UntrustedConfigError: if its configuration would run other code than a known network or generator.
        WeightsError: if the weights are missing, changed, or do not fit.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    bundle = find_bundle(source)
    generator = build_from_bundle(bundle, "generator", trust_code=trust_code)
    if not isinstance(generator, RetinaGenerator):
        raise WeightsError(f"`generator` of bundle {bundle} is a {type(generator).__name__}, not a RetinaGenerator")
    checkpoint = bundle / CHECKPOINT
    load_weights(generator.network, checkpoint, sha256=pinned_sha256(bundle, CHECKPOINT))
    generator.network.requires_grad_(False)
    metadata = read_metadata(bundle)
    generator.identify(
        name=bundle.name, version=str(metadata.get("version", "0")), weights_sha256=sha256_file(checkpoint)
    )
    return generator.to(device)


def regenerate(
    record: GenerationRecord, *, bundle: str | os.PathLike[str] | None = None, device: str = "cpu"
) -> GeneratedBatch:
    """Make a sampled image again from its record alone.

    Args:
        record: the image's record.
        bundle: where the generator's bundle lies, if not where `load_generator` finds it by name.
        device: where to run; the result is the same to within 1/255 on every device.

    Raises:
        WeightsError: if the bundle found is not the version and weights that made the image.
        ValueError: if the mode needs a source image.
    """
    generator = load_generator(bundle or record.generator, device=device)
    if generator.weights_sha256 != record.weights_sha256:
        raise WeightsError(
            f"the record names {record.generator} {record.version} with weights {record.weights_sha256[:12]}, but "
            f"{generator.version} was found, with {generator.weights_sha256[:12]}"
        )
    if record.mode != "sample":
        raise ValueError(f"an image of mode {record.mode!r} needs its source ({record.source!r}); only samples do not")
    return generator.sample([record.grade], seeds=[record.seed], **record.options)
