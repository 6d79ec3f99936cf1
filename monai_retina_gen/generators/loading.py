"""Loading a generator from a bundle that describes itself, and a handle on it that can go anywhere a transform goes.

A handle is pickled, deep-copied and sent into workers: it is only a specification, and the generator is loaded on first
use, once per process, and shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import get_worker_info

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.fork_safety import ForkSafeLock, is_forked
from monai_retina_gen.generators.base import RetinaGenerator
from monai_retina_gen.opened_once import OpenedOnce, file_stamps
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
    """A trained generator, in evaluation mode.

    Args:
        source: a bundle's name or folder, `BUNDLE:CONFIG` for a further network of a bundle, or an object that has the
            methods of `RetinaGenerator` (returned as it is).
        device: where it runs.
        trust_code: allow the bundle's configuration to run any code. Only for bundles whose author you trust.

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

    For configurations: what a user overrides in `generator` or `network_def` is in the generator already. Without a
    `checkpoint` the weights are the bundle's own, which must have the sha256 that it pins. `BundleNotFoundError` or
    `WeightsError` if there is no such bundle, or weights are missing, changed, or those of another network.
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


_LOADED: OpenedOnce[RetinaGenerator] = OpenedOnce()


class GeneratorHandle:
    """Specification of a generator, loaded lazily: a bundle's name or folder, or an object (which is pickled whole)."""

    def __init__(
        self, source: str | os.PathLike[str] | RetinaGenerator, *, device: str = "cpu", trust_code: bool = False
    ) -> None:
        self.source = os.fspath(source) if isinstance(source, (str, os.PathLike)) else source
        if not isinstance(self.source, str) and not hasattr(self.source, "device"):  # others' generators are welcome
            raise TypeError(f"generator: {source!r} came, wanted a bundle's name or folder, or a RetinaGenerator")
        self.device, self.trust_code = str(device), trust_code
        if not isinstance(self.source, str) and self.device != "cpu":
            own = torch.device(self.source.device).type
            if torch.device(self.device).type != own:
                raise ValueError(
                    f"device: {device!r} came with a generator that is on {own!r}: move it with its method `to`"
                )
        self._lock = ForkSafeLock()
        self._loaded: tuple[int, RetinaGenerator] | None = None

    def find(self) -> None:
        """Look for the bundle, if one is named, and load nothing; `BundleNotFoundError` where there is none."""
        if isinstance(self.source, str):
            find_bundle(split_bundle_name(self.source)[0])

    def get(self) -> RetinaGenerator:
        """The generator, loaded at the first call in this process; handles share it while its bundle is the same.

        `RuntimeError` for a CUDA device in a forked worker.
        """
        if not isinstance(self.source, str):
            _refuse_forked_cuda(getattr(self.source, "device", "cpu"))
            return self.source
        _refuse_forked_cuda(self.device)
        if self._loaded is None or self._loaded[0] != os.getpid():
            self._loaded = os.getpid(), self._shared(self.source)
        return self._loaded[1]

    def _shared(self, source: str) -> RetinaGenerator:
        name, config_name = split_bundle_name(source)
        bundle = find_bundle(name)
        files = file_stamps(path for part in ("configs", "models") for path in bundle.glob(f"{part}/*"))

        def load() -> RetinaGenerator:
            return load_generator(source, device=self.device, trust_code=self.trust_code)

        return _LOADED.get((bundle, config_name, self.device, self.trust_code), files, load)

    @contextmanager
    def lent(self, mode: str) -> Iterator[RetinaGenerator]:
        """The generator, for one thread at a time; `UnsupportedModeError` where it lacks `mode`."""
        generator = self.get()
        generator.check_mode(mode)
        with self._lock:
            yield generator

    def __deepcopy__(self, memo: dict[int, Any]) -> GeneratorHandle:
        return self

    def __getstate__(self) -> dict[str, Any]:
        device = self.device if isinstance(self.source, str) else "cpu"  # an object may have moved since
        return {"source": self.source, "device": device, "trust_code": self.trust_code}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _refuse_forked_cuda(device: object) -> None:
    if str(device).startswith("cuda") and get_worker_info() is not None and is_forked():
        raise RuntimeError(
            f"a generator on {str(device)!r} cannot run in a forked DataLoader worker: CUDA does not survive a fork. "
            "Use the batch form after the loader (BatchGenerativeAugment or GenerativePrepareBatch), or a bank made "
            "ahead (`monai-retina-gen expand`, then bank=DIR), or ThreadDataLoader with num_workers=0, or "
            "multiprocessing_context='spawn', or device='cpu'."
        )
