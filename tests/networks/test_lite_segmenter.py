from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_retina_gen.networks import STRUCTURES, EfficientNetLite, LiteSegmenter
from monai_retina_gen.weights import load_imagenet


@pytest.mark.parametrize("enlarge", [False, True])
def test_shapes_start_and_size(enlarge: bool) -> None:
    network = LiteSegmenter(enlarge=enlarge).eval()
    assert network.structures == STRUCTURES
    assert sum(p.numel() for p in network.parameters()) * 2 < 10e6  # bytes in half precision
    for size in ((64, 64), (48, 80), (50, 33)):
        found = network(torch.rand(1, 3, *size))
        assert found.shape == (1, 6, *size)
        assert torch.sigmoid(found).mean() < 0.2  # almost everything is background at first


@pytest.mark.parametrize("enlarge", [False, True])
def test_every_weight_learns(enlarge: bool) -> None:
    network = LiteSegmenter(structures=["ex"], enlarge=enlarge).train()
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_starts_with_imagenet() -> None:
    network, backbone = load_imagenet(LiteSegmenter()).eval(), load_imagenet(EfficientNetLite()).eval()
    image, layers = torch.rand(1, 3, 64, 64), ["stride2", "stride32"]
    assert isinstance(network, LiteSegmenter)
    for name, wanted in backbone.features_at(image, layers).items():
        torch.testing.assert_close(network.encoder.features_at(image, layers)[name], wanted)


def test_a_few_steps_learn_a_bright_spot() -> None:
    torch.manual_seed(0)
    network = LiteSegmenter(structures=["ex"], channels=(8, 8, 8, 8))
    mask = torch.zeros(4, 1, 32, 32)
    mask[:, :, 10:14, 20:24] = 1
    image = torch.rand(4, 3, 32, 32) * 0.3 + 0.6 * mask
    optimizer = torch.optim.Adam(network.parameters(), 0.01)

    def outcome() -> Tensor:
        return torch.sigmoid(network(image))

    for _ in range(40):
        loss = torch.nn.functional.binary_cross_entropy(outcome(), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert outcome()[mask > 0].mean() > 0.5 > 0.1 > outcome()[mask == 0].mean()


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="four widths"):
        LiteSegmenter(channels=(8, 8))
