"""What was found in photographs, kept by their content: in memory up to a limit, and in a folder where one is given."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_retina_gen.data.files import atomic_path
from monai_retina_gen.fork_safety import ForkSafeLock

logger = logging.getLogger(__name__)
AT_A_TIME = 4
"""Photographs whose keys are made together: their pixels stand in memory as 64 bits each."""


def photograph_keys(
    images: Tensor, grades: Sequence[int] | Tensor, identity: Mapping[str, Any] | None = None
) -> list[str]:
    """Keys of photographs `(B, 3, H, W)` by their pixels, shape and grade, and by what else entries depend on.

    Two weighted sums of all pixels modulo 2^64, taken where the images are: a GPU sends two numbers a photograph. Their
    sha256 with the rest is the key, the same on every device.
    """
    parts = [_pixel_sums(part) for part in images.detach().float().split(AT_A_TIME)]
    grade = torch.as_tensor(grades, device=images.device).long()
    numbers = torch.cat([torch.cat(parts), grade[:, None]], dim=1).tolist()
    head = json.dumps({"shape": list(images.shape[1:]), **(identity or {})}, sort_keys=True)
    return [hashlib.sha256(f"{head}{row}".encode()).hexdigest() for row in numbers]


def _pixel_sums(images: Tensor) -> Tensor:
    """`(B, 2)` sums of the bits of all pixels, weighted by odd random numbers along rows, then along columns."""
    words = images.contiguous().view(torch.int32).long()
    found = []
    for seed in range(2):
        random = torch.Generator().manual_seed(seed)
        along, across = (
            (torch.randint(-(2**63), 2**63 - 1, (size,), generator=random) | 1).to(images.device)
            for size in (words.shape[-1], math.prod(words.shape[1:-1]))
        )
        rows = (words * along).sum(-1).flatten(1)
        found.append(((rows ^ (rows >> 32)) * across).sum(1))  # high bits down, or later products lose them
    return torch.stack(found, dim=1)


Entry = TypeVar("Entry")


class PhotographCache(Generic[Entry]):
    """What was found in the photographs that were used last, up to `megabytes` of memory; safe for threads.

    In a `folder`, which processes may share, each photograph has one `.npz` file of plain arrays, written atomically
    and named by its key: other weights or settings (`identity`) or a changed photograph never meet an old entry. A
    damaged file counts as missing, with a line in the log. Entries of the class `kind` give what is kept by `state()`
    and come back by the class method `from_state`.
    """

    def __init__(
        self,
        megabytes: float = 256,
        *,
        identity: Mapping[str, Any] | None = None,
        folder: str | os.PathLike[str] | None = None,
        kind: Any = None,
    ) -> None:
        self.limit, self.identity = int(megabytes * 2**20), dict(identity or {})
        self.folder, self.kind = None if folder is None else Path(folder), kind
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._kept: OrderedDict[str, Entry] = OrderedDict()
        self._lock = ForkSafeLock()

    def entries(
        self, images: Tensor, grades: Sequence[int] | Tensor, make: Callable[[Tensor, Tensor], Sequence[Entry]]
    ) -> list[Entry]:
        """Entries of photographs `(B, 3, H, W)` with `B` grades; those that are missing are made in one batch."""
        grades = torch.as_tensor(grades)
        keys = photograph_keys(images, grades, self.identity)
        found = {key: entry for key in dict.fromkeys(keys) if (entry := self.get(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing:
            rows = [keys.index(key) for key in missing]
            for key, made in zip(missing, make(images[rows], grades[rows]), strict=True):
                self.put(key, made)
                found[key] = made
        return [found[key] for key in keys]

    def get(self, key: str) -> Entry | None:
        """What is kept under `key`, or `None`."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        return None if self.folder is None else _read(self.folder / f"{key}.npz", self.kind)

    def put(self, key: str, entry: Entry) -> None:
        """Keep it; those that were not used for the longest time give way in memory."""
        if self.folder is not None:
            _write(self.folder / f"{key}.npz", entry)
        with self._lock:
            self._kept[key] = entry
            self._kept.move_to_end(key)
            used = sum(map(_bytes, self._kept.values()))
            while self._kept and used > self.limit:
                used -= _bytes(self._kept.popitem(last=False)[1])

    def __getstate__(self) -> dict[str, Any]:
        # what is kept in memory stays in its process
        kept = {"identity": self.identity, "folder": self.folder, "kind": self.kind}
        return {"megabytes": self.limit / 2**20, **kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def clear(self) -> None:
        """Forget what is in memory."""
        with self._lock:
            self._kept.clear()


def _bytes(entry: Any) -> int:
    """Memory of all tensors in an entry."""
    if isinstance(entry, Tensor):
        return entry.nbytes
    if hasattr(entry, "__dict__"):
        entry = vars(entry)
    parts = entry.values() if isinstance(entry, Mapping) else entry if isinstance(entry, list) else ()
    return sum(map(_bytes, parts))


def _write(path: Path, entry: Any) -> None:
    kept = {name: tensor.float().cpu().numpy() for name, tensor in entry.state().items()}
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, sha256=np.frombuffer(_digest(kept), dtype=np.uint8), **kept)


def _read(path: Path, kind: Any) -> Any:
    """An entry, or `None` where there is none, or a damaged one."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = {name: np.array(file[name]) for name in file.files}
        if kept.pop("sha256").tobytes() == _digest(kept):
            return kind.from_state({name: torch.from_numpy(values) for name, values in kept.items()})
        problem = "its digest differs"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problem = str(error)
    logger.warning("cached file %s is damaged (%s): computed again", path, problem)
    return None


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()
