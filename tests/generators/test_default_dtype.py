"""A record makes the same image, whatever torch's default type is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_generators import GENERATORS, call, drgan, tensors

from monai_retina_gen.data import LesionBank
from monai_retina_gen.generators import GeneratedBatch, load_generator


@pytest.fixture
def as_float64() -> Iterator[None]:
    """The test's second half runs with double precision as torch's default."""
    yield
    torch.set_default_dtype(torch.float32)


def assert_same(a: GeneratedBatch, b: GeneratedBatch) -> None:
    assert b.image.dtype == torch.float32
    for name, tensor in tensors(a).items():
        assert torch.equal(tensor, tensors(b)[name]), name
    assert a.records == b.records


@pytest.mark.parametrize("name", GENERATORS)
def test_every_mode(name: str, as_float64: None) -> None:
    torch.manual_seed(0)
    generator = GENERATORS[name]()
    before = {mode: call(generator, mode) for mode in generator.modes}
    torch.set_default_dtype(torch.float64)
    for mode, batch in before.items():
        assert_same(batch, call(generator, mode))


def test_composed_lesions(phantom_bank: LesionBank, as_float64: None) -> None:
    generator = drgan(phantom_bank)
    before = call(generator, "sample")
    torch.set_default_dtype(torch.float64)
    assert_same(before, call(generator, "sample"))


def test_a_bundle_loaded_then(vae_bundle: Path, as_float64: None) -> None:
    before = load_generator(vae_bundle).sample([1, 3], seeds=[5, 6])
    torch.set_default_dtype(torch.float64)
    assert_same(before, load_generator(vae_bundle).sample([1, 3], seeds=[5, 6]))
