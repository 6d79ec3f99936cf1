"""LPIPS_DR against the package `lpips`, its gradient, its ranges; the ImageNet options and their errors."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from urllib.error import URLError

import lpips
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_retina_gen.errors import ImageValueError, WeightsError
from monai_retina_gen.losses import LPIPSDR, FeatureDistance, ImageNetLPIPS, VGG19Features
from monai_retina_gen.networks import EfficientNetLite, FundusGrader
from monai_retina_gen.weights.perceptual import load_perceptual

POOLS = ["pool1", "pool2", "pool3", "pool4", "pool5"]
SIZE = 64


@pytest.fixture(scope="module")
def network() -> FundusGrader:
    torch.manual_seed(0)
    return FundusGrader(backbone="vgg16", width=0.25, num_classes=2)


def pair(seed: int = 0, n: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, SIZE, SIZE, generator=generator), torch.rand(n, 3, SIZE, SIZE, generator=generator)


class Pools(nn.Module):
    """The same features in the form that `lpips` takes."""

    def __init__(self, network: FundusGrader) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.network.features_at((image + 1) / 2, POOLS)
        return namedtuple("Pools", POOLS)(**maps)


def reference(network: FundusGrader) -> lpips.LPIPS:
    distance = lpips.LPIPS(net="vgg", pnet_rand=True, lpips=False, verbose=False)
    distance.net, distance.scaling_layer = Pools(network), nn.Identity()
    return distance


@pytest.mark.filterwarnings("ignore")
def test_equals_the_package_lpips_with_unit_weights(network: FundusGrader) -> None:
    distance, oracle = LPIPSDR(network=network), reference(network)
    x, y = pair()
    torch.testing.assert_close(distance(x, y), oracle(x, y, normalize=True).flatten(), atol=1e-5, rtol=1e-5)


def test_equals_a_literal_loop_with_weights(network: FundusGrader) -> None:
    x, y = pair(1)
    weights = [[0.1 * (c + 1) for c in range(k)] for k in (16, 32, 64, 128, 128)]
    expected = torch.zeros(2, dtype=torch.float64)
    first, second = (network.eval().features_at(i, POOLS) for i in (x, y))
    for layer, weight in zip(POOLS, weights, strict=True):
        for b in range(2):
            p, q = first[layer][b].double(), second[layer][b].double()
            p, q = p / p.norm(dim=0, keepdim=True), q / q.norm(dim=0, keepdim=True)
            expected[b] += ((p - q) ** 2 * torch.tensor(weight, dtype=torch.float64)[:, None, None]).sum(0).mean()
    found = LPIPSDR(network=network, weights=weights)(x, y)
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_is_a_distance(network: FundusGrader, seed: int) -> None:
    distance = LPIPSDR(network=network)
    x, y = pair(seed)
    assert distance(x, x).abs().max() == 0
    torch.testing.assert_close(distance(x, y), distance(y, x))
    assert (distance(x, y) > 0).all()


def test_gradient_reaches_the_image_and_only_the_image(network: FundusGrader) -> None:
    distance = LPIPSDR(network=network).train()
    x, y = pair()
    x[:, :, :32] = 0  # black ground
    x.requires_grad_()
    distance(x, y).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0
    assert all(p.grad is None for p in distance.parameters())
    assert not distance.network.training
    small = torch.rand(1, 3, 32, 32, requires_grad=True)  # a dead network must not make NaN
    silent = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125).requires_grad_(False), layers=["pool1"])
    for parameter in silent.network.parameters():
        parameter.zero_()
    silent(small, torch.rand(1, 3, 32, 32)).sum().backward()
    assert small.grad is not None
    assert torch.isfinite(small.grad).all()


def test_float32_inside_autocast(network: FundusGrader) -> None:
    distance = LPIPSDR(network=network)
    x, y = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = distance(x, y.bfloat16().float())
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, distance(x, y.bfloat16().float()))


def test_range_is_given_once_and_checked(network: FundusGrader) -> None:
    x, y = pair()
    symmetric = LPIPSDR(network=network, value_range="[-1,1]")
    torch.testing.assert_close(symmetric(x * 2 - 1, y * 2 - 1), LPIPSDR(network=network)(x, y), atol=1e-5, rtol=1e-5)
    with pytest.raises(ImageValueError, match=r"target.*wanted"):
        LPIPSDR(network=network)(x, y * 2 - 1)
    with pytest.raises(ImageValueError, match="preds"):
        LPIPSDR(network=network)(x * 255, y)
    with pytest.raises(ImageValueError, match="nan"):
        LPIPSDR(network=network)(x * torch.nan, y)
    with pytest.raises(ImageValueError, match="differ in shape"):
        LPIPSDR(network=network)(x, y[:1])
    with pytest.raises(ImageValueError, match=r"wanted \(B, 3, H, W\)"):
        LPIPSDR(network=network)(x[:, :1], y[:, :1])
    LPIPSDR(network=network)(x * 1.2, y)  # an unbounded last layer overshoots


def test_bad_arguments_are_named(network: FundusGrader) -> None:
    for arguments, message in (
        ({"value_range": "0..255"}, "value_range"),
        ({"weights": [1.0]}, "weights has 1"),
        ({"weights": [1.0, 1.0, 1.0, 1.0, -1.0]}, "negative"),
        ({"network": nn.Flatten()}, "features_at"),
    ):
        with pytest.raises(ValueError, match=message):
            LPIPSDR(**{"network": network, **arguments})


@pytest.mark.filterwarnings("ignore")
def test_imagenet_lpips_is_the_package() -> None:
    distance = ImageNetLPIPS(net="alex", pretrained=False).train()
    x, y = pair()
    torch.testing.assert_close(distance(x, y), distance.distance(x * 2 - 1, y * 2 - 1).flatten())
    x.requires_grad_()
    distance(x, y).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


def test_vgg19_layers_and_their_use_in_lpips() -> None:
    network = VGG19Features(pretrained=False)
    named = [name for name in network.layers if name]
    assert len([name for name in named if name.startswith("relu")]) == 16
    assert named[-2:] == ["relu5_4", "pool5"]
    x, y = pair(n=1)
    maps = network.features_at(x, ["relu1_1", "pool1"])
    assert [tuple(m.shape[1:]) for m in maps.values()] == [(64, 64, 64), (64, 32, 32)]
    assert (maps["relu1_1"] >= 0).all()
    assert LPIPSDR(network=network)(x, y) > 0
    with pytest.raises(ValueError, match="relu9"):
        network.features_at(x, ["relu9"])


@pytest.mark.filterwarnings("ignore")
def test_missing_weights_say_where_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("offline")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    for build in (lambda: ImageNetLPIPS(net="vgg"), VGG19Features):
        with pytest.raises(WeightsError, match=r"download.pytorch.org.*checkpoints"):
            build()


def test_efficientnet_features_at_all_its_strides() -> None:
    distance = load_perceptual("lite0")
    assert isinstance(distance, FeatureDistance)
    assert distance.layers == ["stride2", "stride4", "stride8", "stride16", "stride32"]
    x, y = pair(2)
    x.requires_grad_()
    found = distance(x, y)
    expected = sum(FeatureDistance(network=distance.network, layers=[layer])(x, y) for layer in distance.layers)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().amax(1) > 0).all()
    assert all(p.grad is None for p in distance.parameters())
    with pytest.raises(ImageValueError, match="preds"):
        distance(x.detach() * 255, y)


def test_a_detector_from_imagenet_serves_lpips_dr() -> None:
    detector = FundusGrader(backbone="efficientnet_lite0", num_classes=2)
    x, y = pair(3, n=1)
    inside = FeatureDistance(network=detector.eval().backbone)(x, y)
    torch.testing.assert_close(LPIPSDR(network=detector)(x, y), inside)


def test_layers_are_the_networks_own_or_named() -> None:
    network = EfficientNetLite(variant="lite0")
    del network.layers
    with pytest.raises(ValueError, match="layers: EfficientNetLite names none"):
        FeatureDistance(network=network)
