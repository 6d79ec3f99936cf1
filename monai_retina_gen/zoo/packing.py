"""A bundle's headline figures, packing it (always in the same bytes), and pinning its weights.

Files are stored, not compressed: half-precision weights hardly shrink, and what a compressor writes depends on the
library that is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_retina_gen.data import write_json
from monai_retina_gen.data.files import atomic_path
from monai_retina_gen.data.names import LESIONS, STRUCTURES
from monai_retina_gen.errors import WeightsError, ZooError
from monai_retina_gen.weights import (
    ZooEntry,
    archive_name,
    build_from_bundle,
    check_member_path,
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

HEADLINE = (
    *("fid", "kid", "precision", "recall", "quadratic_weighted_kappa", "accuracy"),
    *(f"pr_auc_{name}" for name in STRUCTURES),
    "val_hole_error",
    *(f"contrast_{name}" for name in LESIONS),
)
"""Figures that are quoted, where a bundle has them."""

CONDITIONS = (
    *("split", "n", "n_vessels", "extractor", "extractor_dimension"),
    *("fid_floor", "kid_floor", "precision_floor", "recall_floor"),
)
"""What they depend on, and stand beside."""


def headline_figures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Headline figures of a bundle's metadata and their conditions, copied exactly."""
    metrics = metadata.get("eval_metrics", {})
    return {key: metrics[key] for key in (*HEADLINE, *CONDITIONS) if key in metrics}


def metrics_problems(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What keeps `eval_metrics` from being read without its card: one flat table of names, as in MONAI's zoo.

    It names its photographs (`split`, `n`); figures have at most four digits; `<name>_floor` is what photographs among
    themselves reach at the same n, and stands beside `<name>`.
    """
    if not metrics:
        yield "metadata.json has no eval_metrics: measure the bundle"
        return
    for name in ("split", "n"):
        if name not in metrics:
            yield f"eval_metrics has no {name}"
    for name, value in metrics.items():
        if not isinstance(value, str | int | float):
            yield f"eval_metrics, {name}: a {type(value).__name__}; only numbers and text, one name each"
        elif isinstance(value, float) and value != float(f"{value:.4g}"):
            yield f"eval_metrics, {name} = {value}: at most four digits"
        if name.endswith("_floor") and name.removesuffix("_floor") not in metrics:
            yield f"eval_metrics, {name} stands alone: {name.removesuffix('_floor')} at the same n is missing"


WEIGHTS_LIMIT = 25 * 2**20
"""Most bytes of one file of a bundle, as MONAI's model zoo has it."""

_PACKED = re.compile(r"LICENSE|configs/[^/]+\.(json|ya?ml|conf)|docs/.+|models/[^/]+")
_HIDDEN = re.compile(r"(^|/)(\.|__pycache__)")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The zip format's first moment: archives carry no time of their own."""


def bundle_files(folder: Path) -> list[str]:
    """Paths, inside a bundle, of what is packed: licence, configurations, documents and pinned weights, sorted.

    Training state, the output of runs, caches and hidden files stay out.

    Raises:
        ZooError: for a link, a file in `models/` that the metadata does not pin or that was changed since, and one that
            is larger than 25 MB.
    """
    pins = read_metadata(folder).get("weights", {})
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink()):
        name = path.relative_to(folder).as_posix()
        if _HIDDEN.search(name) or not _PACKED.fullmatch(name):
            continue
        if path.is_symlink():
            raise ZooError(f"{path} is a link: a bundle is packed from files alone")
        if name.startswith("models/"):
            _check_weights(path, pins.get(name, {}).get("sha256"))
        found.append(check_member_path(name, str(folder)))
    missing = sorted({"LICENSE", "configs/metadata.json", *pins} - set(found))
    if missing:
        raise ZooError(f"{folder} lacks {', '.join(missing)}")
    return found


def pack_bundle(folder: Path, out: Path) -> ZooEntry:
    """Write `<name>_v<version>.zip` into `out` and return what the index says of it; equal files give equal bytes."""
    metadata = read_metadata(folder)
    name, version = folder.name, str(metadata.get("version", "0.0.0"))
    target = out / archive_name(name, version)
    pins: dict[str, dict[str, Any]] = {}
    with atomic_path(target) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for path in bundle_files(folder):
                content = (folder / path).read_bytes()
                archive.writestr(_member(f"{name}/{path}"), content)
                pins[path] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        os.chmod(part, 0o644)
    return ZooEntry(
        name=name,
        version=version,
        file=target.name,
        sha256=sha256_file(target),
        bytes=target.stat().st_size,
        files=pins,
        task=str(metadata.get("task", "")),
        modes=tuple(metadata.get("modes", ())),
        weights_licence=str(metadata.get("weights_licence", "")),
        figures=headline_figures(metadata),
    )


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.create_system, info.external_attr = 3, 0o100644 << 16  # as on Unix, wherever it is packed
    return info


def _check_weights(path: Path, pinned: str | None) -> None:
    if pinned is None:
        raise ZooError(f"{path} is not pinned in configs/metadata.json: `pin` it, or remove it from the bundle")
    if sha256_file(path) != pinned:
        raise ZooError(f"{path} is not the file that configs/metadata.json pins: `pin` it, or restore it")
    if path.stat().st_size > WEIGHTS_LIMIT:
        raise ZooError(f"{path} has {path.stat().st_size / 2**20:.1f} MB; a file of a bundle may have 25")


def pin(bundle: str | Path, weights: str | Path | None = None, *, config_name: str = "inference") -> dict[str, Any]:
    """Install and pin a bundle's weights; returns the pins by file: sha256 and size in bytes.

    Args:
        bundle: name or folder.
        weights: trained state dict that becomes `models/model.pt`; `None` pins the file that is there.
        config_name: configuration of a further network of the bundle; its key `weights_file` takes the place of
            `models/model.pt`.

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
    if found["bytes"] > WEIGHTS_LIMIT:
        raise WeightsError(f"{path} has {found['bytes'] / 2**20:.1f} MB; a file of a bundle's weights may have 25")
    return found
