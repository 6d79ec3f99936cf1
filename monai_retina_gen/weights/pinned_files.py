"""Tensors that belong to a bundle's weights, each in a file whose sha256 the bundle's metadata pin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_retina_gen.data import write_json
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.bundle_paths import read_metadata
from monai_retina_gen.weights.state_files import load_state, save_state, sha256_file


def save_pinned(state: Mapping[str, Tensor], bundle: Path, file: str, **notes: Any) -> Path:
    """Write tensors into a bundle and pin them, with notes such as `of`; returns the file.

    Args:
        state: names and tensors.
        bundle: its folder.
        file: where they lie inside.
        notes: plain JSON values for the metadata; `of` is the sha256 of the weights that they belong to.
    """
    path = bundle / file
    save_state(state, path)
    metadata = read_metadata(bundle)
    pin = {"sha256": sha256_file(path), "bytes": path.stat().st_size, **notes}
    metadata["weights"] = {**metadata.get("weights", {}), file: pin}
    write_json(metadata, bundle / "configs" / "metadata.json", sort_keys=False)
    return path


def load_pinned(bundle: Path, file: str, *, of: str, command: str) -> dict[str, Tensor]:
    """What `save_pinned` wrote for the weights with the sha256 `of`.

    Args:
        bundle: its folder.
        file: where they lie inside.
        of: sha256 of the weights that they are used with.
        command: makes them, for the error.

    Raises:
        WeightsError: if they are missing or changed, or belong to other weights.
    """
    pin = read_metadata(bundle).get("weights", {}).get(file)
    if pin is None or not (bundle / file).is_file():
        raise WeightsError(f"bundle {bundle} has no {file}: make it with `monai-retina-gen {command}`")
    if pin.get("of") != of:
        raise WeightsError(
            f"{bundle / file} belongs to the weights {str(pin.get('of'))[:12]}, not to {of[:12]}: make it again with "
            f"`monai-retina-gen {command}`"
        )
    return load_state(bundle / file, sha256=pin["sha256"])
