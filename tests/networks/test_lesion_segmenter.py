from __future__ import annotations

import copy

import pytest
import torch

from monai_retina_gen.networks import STRUCTURES, LesionSegmenter


def test_shipped_width_fits_ten_megabytes() -> None:
    network = LesionSegmenter()
    parameters = sum(p.numel() for p in network.parameters())
    assert 2e6 < parameters < 5e6
    assert network.structures == STRUCTURES


@pytest.mark.parametrize("size", [(32, 32), (16, 48)])
def test_shapes_and_start(size: tuple[int, int]) -> None:
    network = LesionSegmenter(channels=(4, 8, 8, 8), deep_supervision=2)
    image = torch.rand(2, 3, *size)
    assert network(image).shape == (2, 3, 6, *size)
    assert network.eval()(image).shape == (2, 6, *size)
    assert torch.sigmoid(network(image)).mean() < 0.2  # almost everything is background at first
    with pytest.raises(ValueError, match="multiples of 8"):
        network(torch.rand(1, 3, 20, 32))


def test_exports_and_traces() -> None:
    network = LesionSegmenter(channels=(4, 8, 8)).eval()
    image = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(torch.export.export(network, (image,)).module()(image), network(image))
    torch.testing.assert_close(torch.jit.trace(network, image)(image), network(image))


def test_a_few_steps_learn_a_bright_spot() -> None:
    torch.manual_seed(0)
    network = LesionSegmenter(structures=["ex"], channels=(4, 8, 8), deep_supervision=0)
    image = torch.rand(4, 3, 32, 32) * 0.3
    mask = torch.zeros(4, 1, 32, 32)
    mask[:, :, 10:14, 20:24] = 1
    image = image + 0.6 * mask
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(40):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inside = torch.sigmoid(network(image))[mask > 0].mean()
    outside = torch.sigmoid(network(image))[mask == 0].mean()
    assert inside > 0.5 > 0.1 > outside


def test_copies_after_training_steps() -> None:
    network = LesionSegmenter(channels=(4, 8, 8))
    network(torch.rand(2, 3, 16, 16)).sum().backward()
    copy.deepcopy(network)


@pytest.mark.parametrize("arguments", [{"channels": (8, 8)}, {"deep_supervision": 4}, {"deep_supervision": -1}])
def test_bad_arguments(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="channels"):
        LesionSegmenter(**arguments)
