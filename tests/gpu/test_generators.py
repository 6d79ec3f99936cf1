"""Generators on CUDA: every mode stays there, and the images are those of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from shipped_generators import NAMES, images, shipped
from tiny_generators import GENERATORS, call, tensors
from torch import nn

from monai_retina_gen.generators import StyleGAN3Generator


@pytest.mark.parametrize("name", GENERATORS)
def test_every_mode_stays_on_the_device_and_can_be_trained_on(name: str) -> None:
    generator = GENERATORS[name]().to("cuda")
    assert generator.device == torch.device("cuda:0")
    for mode in sorted(generator.modes):
        batch = call(generator, mode)
        assert {tensor.device for tensor in tensors(batch).values()} == {generator.device}, mode
        assert not batch.image.is_inference()
        nn.Conv2d(3, 2, 3).cuda()(batch.image).mean().backward()


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in ("phantom",)])
def test_tiny_generators_agree_with_the_cpu(name: str, exact: None) -> None:
    torch.manual_seed(0)
    generator = GENERATORS[name]()
    for mode in sorted(generator.modes - {"edit", "reconstruct"}):
        here = call(generator.to("cpu"), mode).image
        there = call(generator.to("cuda"), mode).image.cpu()
        torch.testing.assert_close(there, here, atol=1 / 255, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_sizes_agree_with_the_cpu(name: str, bundles_dir: Path, report: dict[str, Any]) -> None:
    """Within 1/255 in float32; trained ones within 4/255 with TF32, PyTorch's default for convolutions."""
    generator = shipped(bundles_dir / name)
    here = images(generator, 2)
    generator.to("cuda")
    found = {}
    for precision, allowed in (("float32", False), ("tf32", True)):
        torch.backends.cudnn.allow_tf32 = allowed
        found[precision] = 255 * float((images(generator, 2).cpu() - here).abs().max())
    torch.backends.cudnn.allow_tf32 = True
    report.setdefault("largest difference from the CPU, of 255", {})[name] = found
    assert found["float32"] <= 1
    if generator.weights_sha256:  # an untrained one enlarges every rounding
        assert found["tf32"] <= 4


def test_a_network_that_was_moved_takes_its_generator_along() -> None:
    generator = GENERATORS["stylegan3"]()
    assert isinstance(generator, StyleGAN3Generator)
    before = generator.sample([1, 2], seeds=[3, 4], truncation=0.7).image
    generator.network.cuda()  # as a training does
    after = generator.sample([1, 2], seeds=[3, 4], truncation=0.7).image
    assert after.is_cuda
    torch.testing.assert_close(after.cpu(), before, atol=4 / 255, rtol=0)
