"""What generators return: ordinary tensors where the network is, to compute on, to change and to train on."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import NormalizeIntensity
from tiny_generators import GENERATORS, call, drgan, tensors
from torch import nn

from monai_retina_gen.data import LesionBank
from monai_retina_gen.editing import GateLimits, LabelGate
from monai_retina_gen.engines import FundusSegmenter
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.networks import LesionSegmenter


def assert_fit_to_train_on(generator: RetinaGenerator) -> None:
    assert generator.modes
    for mode in sorted(generator.modes):
        batch = call(generator, mode)
        assert not any(tensor.is_inference() or tensor.requires_grad for tensor in tensors(batch).values()), mode
        assert {tensor.device for tensor in tensors(batch).values()} == {generator.device}, mode
        layer = nn.Conv2d(3, 2, 3)
        layer(batch.image).mean().backward()
        assert layer.weight.grad is not None
        NormalizeIntensity(channel_wise=True)(batch.image[0])  # MONAI's computes in place
        batch.image.mul_(0.5)


@pytest.mark.parametrize("name", GENERATORS)
def test_outputs_are_ordinary_tensors(name: str) -> None:
    assert_fit_to_train_on(GENERATORS[name]())


def test_samples_from_a_lesion_bank_are_ordinary_tensors(phantom_bank: LesionBank) -> None:
    assert_fit_to_train_on(drgan(phantom_bank))


def test_latents_are_ordinary_tensors() -> None:
    for name in ("vae", "stylegan3"):
        generator = GENERATORS[name]()
        side = generator.image_size
        assert not generator.encode(torch.rand(2, 3, side, side), [2, 3]).is_inference(), name


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_is_where_its_network_is(name: str) -> None:
    """Training moves the network, and nobody tells the generator."""
    generator = GENERATORS[name]()
    assert generator.device == torch.device("cpu")
    generator.network.to("meta")
    assert generator.device == torch.device("meta")
    assert generator.check_grades([1, 2]).device == generator.device


def test_networks_loaded_by_a_judge_can_be_trained() -> None:
    segmenter = FundusSegmenter(
        LesionSegmenter(structures=["ex"], channels=(4, 8, 8)), structures=["ex"], image_size=32
    )
    assert not segmenter.probabilities(torch.rand(1, 3, 32, 32))["ex"].is_inference()

    class Flat(nn.Module):
        def forward(self, image: torch.Tensor, groups: object) -> torch.Tensor:
            return torch.full((len(image), 5), 0.2, device=image.device)

    limits = GateLimits(0.1, {8: [4.0] * 5}, {8: [1.0] * 5}, 0.3, 0.5, 0.2, 0.01)
    gate = LabelGate(graders=Flat(), segmenter=None, limits=limits)
    assert gate.check(torch.rand(1, 3, 8, 8), [2]).reasons == [""]
    assert not gate.probabilities(torch.rand(1, 3, 8, 8)).is_inference()
