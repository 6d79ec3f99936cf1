"""A handle on a generator that can go anywhere a transform goes: pickled, deep-copied, into workers.

It is only a specification; the generator itself is loaded on first use, once per process, and shared.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from torch.utils.data import get_worker_info

from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.generators.loading import load_generator

__all__ = ["GeneratorHandle"]

_LOADED: dict[tuple[int, str, str, bool], RetinaGenerator] = {}
_LOCK = threading.Lock()
_FORKED = False


def _say_forked() -> None:
    """Note that this process is the child of a fork; unlike a start method's name, `os.fork` tells it in all cases."""
    global _FORKED
    _FORKED = True


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_say_forked)


class GeneratorHandle:
    """Specification of a generator, loaded lazily.

    Args:
        source: bundle name, folder, or a generator object (which then travels whole when pickled).
        device: where it runs.
        trust_code: see `load_generator`.

    Examples:
        >>> import copy, pickle
        >>> handle = GeneratorHandle("retina_vae")
        >>> copy.deepcopy(handle) is handle, len(pickle.dumps(handle)) < 1000
        (True, True)
    """

    def __init__(
        self, source: str | os.PathLike[str] | RetinaGenerator, *, device: str = "cpu", trust_code: bool = False
    ) -> None:
        self.source = os.fspath(source) if isinstance(source, (str, os.PathLike)) else source
        self.device, self.trust_code = str(device), trust_code
        self._lock = threading.Lock()

    def get(self) -> RetinaGenerator:
        """The generator, loaded at the first call in this process.

        Raises:
            RuntimeError: for a CUDA device in a forked worker.
        """
        if not isinstance(self.source, str):
            _refuse_forked_cuda(getattr(self.source, "device", "cpu"))
            return self.source
        _refuse_forked_cuda(self.device)
        key = (os.getpid(), self.source, self.device, self.trust_code)
        with _LOCK:
            if key not in _LOADED:
                _LOADED[key] = load_generator(self.source, device=self.device, trust_code=self.trust_code)
            return _LOADED[key]

    def call(self, mode: str, *args: Any, **kwargs: Any) -> GeneratedBatch:
        """Call the generator's method `mode`; one thread at a time."""
        generator = self.get()
        generator.check_mode(mode)
        with self._lock:
            batch: GeneratedBatch = getattr(generator, mode)(*args, **kwargs)
        return batch

    def __deepcopy__(self, memo: dict[int, Any]) -> GeneratorHandle:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "device": self.device, "trust_code": self.trust_code}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _refuse_forked_cuda(device: object) -> None:
    if str(device).startswith("cuda") and get_worker_info() is not None and _FORKED:
        raise RuntimeError(
            f"a generator on {str(device)!r} cannot run in a forked DataLoader worker: CUDA does not survive a fork. "
            "Use the batch form after the loader (BatchGenerativeAugment or GenerativePrepareBatch), or a bank made "
            "ahead (`python -m monai_retina_gen expand`, then bank=DIR), or ThreadDataLoader with num_workers=0, or "
            "multiprocessing_context='spawn', or device='cpu'."
        )
