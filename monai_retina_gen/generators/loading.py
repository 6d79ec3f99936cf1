"""Loading a generator from a bundle that describes itself."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.generators.base import RetinaGenerator
from monai_retina_gen.weights import (
    build_from_bundle,
    find_bundle,
    load_weights,
    pinned_sha256,
    read_inference_config,
    read_metadata,
    sha256_file,
    split_bundle_name,
    weights_file,
)


def load_generator(
    source: str | os.PathLike[str] | RetinaGenerator,
    *,
    device: str | torch.device = "cpu",
    trust_code: bool = False,
) -> RetinaGenerator:
    """A trained generator.

    Args:
        source: a bundle's name or folder, `BUNDLE:CONFIG` for a further network of a bundle, or an object that has the
            methods of `RetinaGenerator` (returned as it is).
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
    name, config_name = split_bundle_name(os.fspath(source))
    bundle = find_bundle(name)
    generator = build_from_bundle(bundle, "generator", trust_code=trust_code, config_name=config_name)
    if not isinstance(generator, RetinaGenerator):
        raise WeightsError(f"`generator` of bundle {bundle} is a {type(generator).__name__}, not a RetinaGenerator")
    return generator_from_bundle(generator, bundle, config_name=config_name, device=device)


def generator_from_bundle(
    generator: RetinaGenerator,
    bundle: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    config_name: str = "inference",
    device: str | torch.device = "cpu",
) -> RetinaGenerator:
    """Give a generator that was built from a bundle's configuration its weights, identity and further parts.

    For configurations: what a user overrides in `generator` or `network_def` is in the generator already.

    Args:
        generator: with a network as it was initialised.
        bundle: name or folder.
        checkpoint: weights; None for the bundle's own. Those must have the sha256 that the bundle pins.
        config_name: configuration that names the bundle's own weights and parts.
        device: where it runs.

    Returns:
        The generator itself.

    Raises:
        BundleNotFoundError: if there is no such bundle.
        WeightsError: if the weights are missing, changed, or those of another network.
    """
    folder = find_bundle(bundle)
    file = weights_file(read_inference_config(folder, config_name))
    path = folder / file if checkpoint is None else Path(checkpoint)
    pinned = pinned_sha256(folder, file) if path.resolve() == (folder / file).resolve() else None
    load_weights(generator.network, path, sha256=pinned)
    generator.network.requires_grad_(False)
    generator.identify(
        name=folder.name if config_name == "inference" else f"{folder.name}:{config_name}",
        version=str(read_metadata(folder).get("version", "0")),
        weights_sha256=sha256_file(path),
    )
    generator.load_parts(folder, config_name)
    return generator.to(device)
