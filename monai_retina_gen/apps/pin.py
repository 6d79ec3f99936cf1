"""`pin`: put trained weights into a bundle, in half precision, and pin their sha256 in its metadata."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_retina_gen.data import write_json
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights import (
    build_from_bundle,
    find_bundle,
    load_state,
    load_weights,
    read_inference_config,
    read_metadata,
    save_state,
    sha256_file,
    weights_file,
    weights_files,
)

__all__ = ["add_parser", "pin"]

LIMIT = 25 * 2**20


def pin(bundle: str | Path, weights: str | Path | None = None, *, config_name: str = "inference") -> dict[str, Any]:
    """Install and pin a bundle's weights.

    Args:
        bundle: name or folder.
        weights: trained state dict that becomes `models/model.pt`; `None` pins the file that is there.
        config_name: configuration of a further network of the bundle; its key `weights_file` takes the place of
            `models/model.pt`.

    Returns:
        The pins by file: sha256 and size in bytes.

    Raises:
        WeightsError: if the weights do not fit the bundle's network, or the file exceeds 25 MB.
    """
    folder = find_bundle(bundle)
    files = weights_files(read_inference_config(folder, config_name))
    if weights is not None:
        # before anything is overwritten
        load_weights(build_from_bundle(folder, "network_def", config_name=config_name), weights)
        save_state(load_state(weights), folder / weights_file(read_inference_config(folder, config_name)), half=True)
    pins = {file: _pin_of(folder / file) for file in files}
    metadata = read_metadata(folder)
    metadata["weights"] = metadata.get("weights", {}) | pins
    # Not sorted: the metadata's own order is for readers.
    write_json(metadata, folder / "configs" / "metadata.json", sort_keys=False)
    return pins


def _pin_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    if found["bytes"] > LIMIT:
        raise WeightsError(f"{path} has {found['bytes'] / 2**20:.1f} MB; a file of a bundle's weights may have 25")
    return found


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "pin",
        description="Writes models/model.pt in half precision, checks that it fits, and pins its hash.",
        epilog="example: python -m monai_retina_gen pin bundles/retina_vae --weights output/model.pt",
    )
    parser.add_argument("bundle", help="name or folder")
    parser.add_argument("--weights", help="trained state dict; without it the file that is there is pinned")
    parser.add_argument("--config", default="inference", help="configuration of a further network of the bundle")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pin and print."""
    for file, found in pin(args.bundle, args.weights, config_name=args.config).items():
        print(f"{args.bundle}: {file} has {found['bytes']} bytes, sha256 {found['sha256']}")
    return 0
