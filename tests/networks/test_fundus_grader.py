from __future__ import annotations

import pytest
import torch

from monai_retina_gen.networks import BACKBONES, FundusGrader

CHANNELS = {
    "resnet18": [64, 128, 256, 512],
    "densenet121": [256, 512, 1024, 1024],
    "vgg16": [64, 128, 256, 512, 512],
    "vgg16_bn": [64, 128, 256, 512, 512],
}


@pytest.mark.parametrize("backbone", CHANNELS)
def test_named_layers(backbone: str) -> None:
    network = FundusGrader(backbone=backbone).eval()
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    maps = network.features_at(image, network.layers)
    assert list(maps) == list(network.layers)
    assert [m.shape[1] for m in maps.values()] == CHANNELS[backbone]
    maps[network.layers[-1]].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not any(m._forward_hooks for m in network.modules())  # nothing is left behind
    with pytest.raises(ValueError, match=r"nowhere.*this backbone has"):
        network.features_at(image, ["nowhere"])
    assert "inception_v3" in BACKBONES


def test_half_width_vgg16_for_detection_fits_seven_megabytes() -> None:
    network = FundusGrader(backbone="vgg16", width=0.5, num_classes=2)
    size = sum(p.numel() for p in network.parameters()) * 2
    assert 6e6 < size < 8e6
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 2)
    logits = network.eval()(torch.rand(16, 3, 64, 64))
    assert 0 < logits.std() < 100  # sixteen layers without normalisation neither die nor explode


@pytest.mark.parametrize("width", [0.0, 1.5, float("nan")])
def test_width_outside_its_range(width: float) -> None:
    with pytest.raises(ValueError, match="width"):
        FundusGrader(backbone="vgg16", width=width)
    with pytest.raises(ValueError, match="width"):
        FundusGrader(backbone="resnet18", width=0.5)


def test_temperature_is_saved_and_defaults_to_one() -> None:
    network = FundusGrader(backbone="vgg16", width=0.125).eval()
    network.temperature.fill_(2.0)
    image = torch.rand(2, 3, 32, 32)
    expected = torch.softmax(network(image) / 2, dim=1)
    torch.testing.assert_close(network.probabilities(image), expected)
    other = FundusGrader(backbone="vgg16", width=0.125).eval()
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other.probabilities(image), expected)
    old = {k: v for k, v in network.state_dict().items() if k != "temperature"}
    other.load_state_dict(old)  # weights from before calibration
    assert other.temperature == 1
