"""CUDA in workers of a loader: refused where the worker was forked, whatever names the start method."""

from __future__ import annotations

import multiprocessing
import os

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from monai_retina_gen.generators import GeneratorHandle, loading


class Samples(Dataset[torch.Tensor]):
    def __init__(self, generator: GeneratorHandle) -> None:
        self.generator = generator

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        with self.generator.lent("sample") as generator:
            return generator.sample([index], seeds=[index]).image[0]


class OnCuda:
    """A third party's generator that says where it is."""

    device = torch.device("cuda:0")


@pytest.mark.parametrize("source", ["retina_vae", OnCuda()])
@pytest.mark.parametrize("context", [None, "fork"])
def test_cuda_in_a_forked_worker_is_refused(context: str | None, source: object) -> None:
    """`None` is the default loader, whose processes do not say how they were started."""
    if not hasattr(os, "fork") or (context or multiprocessing.get_start_method()) != "fork":
        pytest.skip("loaders do not fork here")
    samples = Samples(GeneratorHandle(source, device="cuda:0"))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"'cuda:0' cannot run .* does not survive a fork"):
        next(iter(DataLoader(samples, num_workers=1, multiprocessing_context=context)))


def test_the_cpu_is_not_refused() -> None:
    class Flat(OnCuda):
        device = torch.device("cpu")

        def check_mode(self, mode: str) -> None:
            pass

        def sample(self, grades: list[int], seeds: list[int]) -> Flat:
            self.image = torch.full((1, 3, 4, 4), float(grades[0]))
            return self

    loader = DataLoader(Samples(GeneratorHandle(Flat())), num_workers=1)  # type: ignore[arg-type]
    assert [float(image.mean()) for image in loader] == [0.0, 1.0]


def test_a_worker_that_was_not_forked_may_use_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the start methods `spawn` and `forkserver`."""
    asked: list[str] = []
    monkeypatch.setattr(loading, "get_worker_info", object)
    monkeypatch.setattr(loading, "load_generator", lambda source, device, **_: asked.append(device))
    GeneratorHandle("retina_vae", device="cuda:7").get()
    assert asked == ["cuda:7"]
