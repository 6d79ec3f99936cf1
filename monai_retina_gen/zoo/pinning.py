"""Put trained weights into a bundle, in half precision, and pin their sha256 in its metadata."""

from __future__ import annotations

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
