"""EfficientNet-Lite: what timm computes, maps by name, scripting; and the ordinal head against scipy's logistic."""

from __future__ import annotations

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from timm.layers import Conv2dSame
from torch import Tensor, nn

from monai_retina_gen.networks import (
    LITE_VARIANTS,
    EfficientNetLite,
    FundusGrader,
    OrdinalHead,
    fold_batch_norm,
    freeze_stages,
)
from monai_retina_gen.networks.efficientnet_lite import EvenSameConv


@pytest.mark.parametrize("variant", LITE_VARIANTS)
def test_features_are_timms(variant: str) -> None:
    torch.manual_seed(0)
    network = EfficientNetLite(variant=variant).eval()
    reference = timm.create_model(f"tf_efficientnet_{variant}", features_only=True).eval()
    inner = {name.removeprefix("network."): value for name, value in network.state_dict().items()}
    reference.load_state_dict({name: value for name, value in inner.items() if name in reference.state_dict()})
    image = torch.rand(2, 3, 96, 64)
    expected = reference((image - 0.5) / 0.5)
    maps = network.features_at(image, network.layers)
    assert list(maps) == ["stride2", "stride4", "stride8", "stride16", "stride32"]
    for (name, found), wanted in zip(maps.items(), expected, strict=True):
        torch.testing.assert_close(found, wanted)
        assert found.shape[1] == network.channels[name]
        assert found.shape[-2:] == (96 // int(name.removeprefix("stride")), 64 // int(name.removeprefix("stride")))
    assert network(image).shape == (2, network.feature_dim) == (2, 1280)


def test_maps_no_deeper_than_asked_for_with_gradients_to_the_image() -> None:
    network = EfficientNetLite().eval().requires_grad_(False)
    network.network.blocks[3] = nn.Flatten()  # type: ignore[index, operator]  # any deeper stage would fail
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    maps = network.features_at(image, ["stride8", "stride2"])
    assert list(maps) == ["stride8", "stride2"]
    maps["stride8"].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert network.features_at(image, []) == {}
    with pytest.raises(ValueError, match=r"stride3.*stride2, stride4"):
        network.features_at(image, ["stride3"])
    with pytest.raises(ValueError, match=r"lite7.*lite0"):
        EfficientNetLite(variant="lite7")


@torch.no_grad()
def test_folded_normalisation_changes_no_output() -> None:
    torch.manual_seed(2)
    grader = FundusGrader(backbone="efficientnet_lite0")
    for module in grader.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            module.weight.uniform_(0.5, 2)
    image = torch.rand(2, 3, 64, 64)
    with pytest.raises(ValueError, match=r"eval\(\)"):
        fold_batch_norm(grader)
    before = grader.eval()(image)
    folded = fold_batch_norm(grader)
    torch.testing.assert_close(folded(image), before, atol=1e-3, rtol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(fold_batch_norm(folded)(image), before, atol=1e-3, rtol=1e-3)  # twice does nothing
    other = FundusGrader(backbone="vgg16_bn", width=0.0625).eval()
    assert torch.equal(fold_batch_norm(other)(image), other(image))


@settings(max_examples=20, deadline=None)
@given(
    kernel=st.sampled_from([3, 5, 7]),
    height=st.integers(7, 20),
    width=st.integers(7, 20),
    groups=st.sampled_from([1, 4]),
)
def test_strided_convolutions_pad_as_tensorflow_does(kernel: int, height: int, width: int, groups: int) -> None:
    plain = Conv2dSame(4, 8, kernel, stride=2, groups=groups)
    image = torch.rand(2, 4, height, width)
    torch.testing.assert_close(EvenSameConv(plain)(image), plain(image), atol=1e-5, rtol=1e-5)


def test_padding_is_known_for_odd_kernels_of_stride_2_alone() -> None:
    for kernel, stride in ((4, 2), (3, 1)):
        with pytest.raises(ValueError, match="want an odd square kernel with stride 2"):
            EvenSameConv(nn.Conv2d(1, 1, kernel, stride=stride))


def test_frozen_stages_stay_as_they_are_in_training() -> None:
    torch.manual_seed(3)
    grader = freeze_stages(FundusGrader(backbone="efficientnet_lite0"), 5)
    before = {name: value.clone() for name, value in grader.state_dict().items()}
    optimizer = torch.optim.AdamW(grader.parameters(), lr=0.1, weight_decay=0.5)
    grader.train()
    grader(torch.rand(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in grader.state_dict().items() if not torch.equal(value, before[name])}
    early = ("conv_stem", "bn1", *(f"blocks.{stage}." for stage in range(5)))
    assert changed
    assert not any(name.removeprefix("backbone.network.").startswith(early) for name in changed)
    assert all(any(f"blocks.{stage}." in name for name in changed) for stage in (5, 6))
    with pytest.raises(ValueError, match="8 frozen stages: this network has 7"):
        freeze_stages(grader, 8)
    with pytest.raises(ValueError, match="this network has 0"):
        freeze_stages(FundusGrader(backbone="vgg16", width=0.0625), 1)
    assert freeze_stages(FundusGrader(backbone="vgg16", width=0.0625), 0).training


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetLite(drop_path=0.2)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return list(self.network.features_at(image, ["stride4", "stride32"]).values())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_scripting() -> None:
    network, image = Pyramid().eval(), torch.rand(1, 3, 40, 40)
    for found, wanted in zip(torch.jit.script(network)(image), network(image), strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.jit.script(network.network)(image), network.network(image))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("ordinal", [False, True])
def test_grader_with_it(ordinal: bool) -> None:
    network = FundusGrader(backbone="efficientnet_lite0", ordinal=ordinal, dropout=0.2, drop_path=0.1).eval()
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network.features(image), network.backbone(image))  # normalised once
    names = ["stride4", "stride16"]
    for name, found in network.features_at(image, names).items():
        torch.testing.assert_close(found, network.backbone.features_at(image, names)[name])  # type: ignore[operator]
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))
    as_it_lies_on_a_gpu = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(as_it_lies_on_a_gpu(image), network(image))
    with pytest.raises(ValueError, match="drop_path"):
        FundusGrader(backbone="resnet18", drop_path=0.1)


def probabilities_by_definition(head: OrdinalHead, features: Tensor) -> Tensor:
    severity = head.severity(features)[:, 0].double().numpy()
    gaps = torch.nn.functional.softplus(head.gaps).double()
    thresholds = torch.cat([head.first.double(), head.first.double() + gaps.cumsum(0)]).tolist()
    at_most = torch.stack([torch.from_numpy(expit(t - severity)) for t in thresholds], 1)
    edge = torch.ones(len(at_most), 1, dtype=torch.float64)
    return torch.cat([at_most, edge], 1) - torch.cat([0 * edge, at_most], 1)


@torch.no_grad()
def test_ordinal_head() -> None:
    torch.manual_seed(1)
    head, features = OrdinalHead(6, 5), 3 * torch.randn(50, 6)
    head.gaps.normal_()
    torch.testing.assert_close(
        head(features).double().exp(), probabilities_by_definition(head, features), atol=1e-5, rtol=1e-4
    )
    far = head(1e4 * features)
    assert far.isfinite().all()
    assert set(far.argmax(1).tolist()) == {0, 4}
    assert OrdinalHead(6, 2)(features).exp().sum(1).allclose(torch.ones(50))
    with pytest.raises(ValueError, match="at least 2"):
        OrdinalHead(6, 1)


@torch.no_grad()
def test_a_new_ordinal_head_prefers_no_grade() -> None:
    head = OrdinalHead(6, 5)
    head.severity.bias.zero_()
    p = head(torch.zeros(1, 6)).exp()[0]
    torch.testing.assert_close(p, p.flip(0))
    assert float(p.min()) > 0.15
