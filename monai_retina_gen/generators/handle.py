"""A handle on a generator that can go anywhere a transform goes: pickled, deep-copied, into workers.

It is only a specification; the generator itself is loaded on first use, once per process, and shared.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

from torch.utils.data import get_worker_info

from monai_retina_gen.generators.base import GeneratedBatch, RetinaGenerator
from monai_retina_gen.generators.loading import load_generator

__all__ = ["GeneratorHandle"]

_LOADED: dict[tuple[int, str, str, bool], RetinaGenerator] = {}
_LOCK = threading.Lock()


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
        self._refuse_forked_cuda()
        if not isinstance(self.source, str):
            return self.source
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

    def _refuse_forked_cuda(self) -> None:
        forked = getattr(multiprocessing.current_process(), "_start_method", None) == "fork"
        if self.device.startswith("cuda") and get_worker_info() is not None and forked:
            raise RuntimeError(
                f"a generator on {self.device!r} cannot run in a forked DataLoader worker: CUDA does not survive a "
                "fork. Use the batch form after the loader (BatchGenerativeAugment or GenerativePrepareBatch), or a "
                "bank made ahead (`python -m monai_retina_gen expand`, then bank=DIR), or ThreadDataLoader with "
                "num_workers=0, or device='cpu'."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> GeneratorHandle:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "device": self.device, "trust_code": self.trust_code}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
