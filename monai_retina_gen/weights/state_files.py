"""Loading and saving state dicts: `weights_only=True`, a sha256 that a bundle pins, atomic writes, half precision."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import write_json
from monai_retina_gen.data.files import atomic_path, sha256_file
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.bundle_paths import read_metadata


def load_state(path: str | os.PathLike[str], *, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a bare state dict, on the CPU.

    Args:
        path: the file.
        sha256: the hash that its bytes must have; `None` skips the check.

    Raises:
        WeightsError: if the file is missing, has another hash, is truncated, holds anything but tensors (a pickle
            of objects is never executed), or holds NaN.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights at {path.absolute()}")
    if sha256 is not None and (found := sha256_file(path)) != sha256:
        raise WeightsError(f"{path} has sha256 {found}, but {sha256} is pinned: the file was changed or is incomplete")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a state dict that loads with weights_only=True: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds a {type(state).__name__} that is not a bare state dict (name: tensor)")
    bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise WeightsError(f"{path} holds NaN or infinite values in {', '.join(bad[:5])}")
    return dict(state)


def load_weights(
    network: nn.Module,
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    sha256: str | Sequence[str | None] | None = None,
) -> nn.Module:
    """Load a state dict into `network`, which is float32 afterwards, whatever the files and torch's default type are.

    `path` may be the files that hold it together (see `save_parts`), and `sha256` the hash of each. `WeightsError` as
    `load_state`, and if names or shapes differ from the network's.
    """
    one = isinstance(path, (str, os.PathLike))
    paths, pins = ([path], [sha256]) if one else (path, sha256)
    state = load_parts(paths, sha256=pins)  # type: ignore[arg-type]
    path = path if one else " and ".join(map(str, paths))  # type: ignore[arg-type]
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit {type(network).__name__}: it holds the weights of another network_def (image size, "
            "widths, classes). Leave these as they were trained, or give a checkpoint trained with these. "
            f"{str(error)[:800]}"
        ) from error
    return network.float()


def save_state(state: Mapping[str, Tensor], path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Write a state dict atomically, with `half` in half precision: a reader sees the old file or the new one."""
    path = Path(path)
    tensors = {k: v.detach().cpu().clone() for k, v in state.items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    # A handle, not a path: PyTorch writes the file's name into the file, and equal states shall give equal bytes.
    with atomic_path(path) as part, part.open("wb") as file:
        torch.save(tensors, file)


def save_parts(
    state: Mapping[str, Tensor], path: str | os.PathLike[str], *, half: bool = False, most: int = 24_000_000
) -> list[Path]:
    """As `save_state`, in as many files as it takes so that none is larger than `most` bytes (a tensor stays whole).

    Returns the files: `path`, or `<stem>_1.pt`, `<stem>_2.pt`... of them, which `load_parts` joins.
    """
    parts: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, value in state.items():
        size = value.numel() * (2 if half and value.is_floating_point() else value.element_size())
        if parts[-1] and filled + size > most:
            parts, filled = [*parts, {}], 0
        parts[-1][name] = value
        filled += size
    whole = Path(path)
    several = [whole.with_name(f"{whole.stem}_{i}{whole.suffix}") for i in range(1, len(parts) + 1)]
    paths = several if len(parts) > 1 else [whole]
    for part, place in zip(parts, paths, strict=True):
        save_state(part, place, half=half)
    return paths


def load_parts(
    paths: Sequence[str | os.PathLike[str]], *, sha256: Sequence[str | None] | None = None
) -> dict[str, Tensor]:
    """Read a state dict of several files; `WeightsError` as `load_state`, and where a tensor is in two of them."""
    state: dict[str, Tensor] = {}
    for path, pin in zip(paths, sha256 or [None] * len(paths), strict=True):
        part = load_state(path, sha256=pin)
        if twice := sorted(part.keys() & state.keys()):
            raise WeightsError(f"{path} holds {twice[0]}, and so does a file before it: want each tensor in one file")
        state |= part
    return state


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of weights as they stand, in a file or not; half precision counts as what it loads as."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        plain = (value.float() if value.is_floating_point() else value).detach().cpu().contiguous()
        digest.update(f"{name} {tuple(plain.shape)} {plain.dtype}".encode())
        digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def latest_checkpoint(folder: str | os.PathLike[str], prefix: str = "state", *, finite: bool = False) -> str:
    """Newest readable `<prefix>_*.pt` in a folder: where a training run is resumed from.

    A file that does not load with `weights_only=True`, as one that was cut off while it was written, or with `finite`
    one that holds NaN or infinite values, is refused with a warning, and the one before it is taken.

    Raises:
        WeightsError: if none is left.
    """
    found = sorted(Path(folder).glob(f"{prefix}_*.pt"), key=lambda path: path.stat().st_mtime, reverse=True)
    refused = []
    for path in found:
        problem = _checkpoint_problem(path, finite)
        if not problem:
            return str(path)
        refused.append(f"{path.name}: {problem}")
        logging.getLogger(__name__).warning(f"checkpoint {path} is refused ({problem}); trying the one before it")
    reason = f"none of {'; '.join(refused)} can be used" if refused else f"no {prefix}_*.pt"
    raise WeightsError(f"nothing to resume in {Path(folder).absolute()}: {reason}; start without resume")


def _checkpoint_problem(path: Path, finite: bool) -> str:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        return f"it does not load: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"
    if finite and not all(x.isfinite().all() for x in _tensors(state) if x.is_floating_point()):
        return "it holds NaN or infinite values"
    return ""


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for child in children for tensor in _tensors(child)]


def save_pinned(state: Mapping[str, Tensor], bundle: Path, file: str, **notes: Any) -> Path:
    """Write tensors into a `file` of a bundle and pin them in its metadata; returns the file's path.

    `notes` are plain JSON values for the metadata; `of` is the sha256 of the weights that the tensors belong to.
    """
    path = bundle / file
    save_state(state, path)
    metadata = read_metadata(bundle)
    pin = {"sha256": sha256_file(path), "bytes": path.stat().st_size, **notes}
    metadata["weights"] = {**metadata.get("weights", {}), file: pin}
    write_json(metadata, bundle / "configs" / "metadata.json", sort_keys=False)
    return path


def load_pinned(bundle: Path, file: str, *, of: str, command: str) -> dict[str, Tensor]:
    """What `save_pinned` wrote for the weights with the sha256 `of`; `command` makes it, for the error.

    `WeightsError` if it is missing or changed, or belongs to other weights.
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
