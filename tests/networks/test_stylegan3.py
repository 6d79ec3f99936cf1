"""StyleGAN3 against reference numbers; its schedule, styles, resumption, conversion and bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import StyleGAN3, StyleSpace
from monai_retina_gen.networks.stylegan3_schedule import plan_layers
from monai_retina_gen.weights.import_stylegan3 import convert_stylegan3_state

FIXTURE = Path(os.environ.get("MRG_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
TINY = {"image_size": 32, "z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 8}


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    path = FIXTURE / "stylegan3_t32.npz"
    if not path.is_file():
        pytest.skip(f"reference numbers not found at {path}: set MRG_FIXTURES to their folder")
    with np.load(path) as arrays:
        return {key: json.loads(str(a)) if key == "cfg" else torch.as_tensor(a) for key, a in arrays.items()}


def original_state(reference: dict[str, Any]) -> dict[str, Tensor]:
    return {key[3:]: value for key, value in reference.items() if key.startswith("sd/")}


@pytest.fixture
def network(reference: dict[str, Any]) -> StyleGAN3:
    beta = reference["cfg"]["magnitude_ema_beta"]
    network = StyleGAN3(image_size=32, z_dim=16, w_dim=16, channel_base=512, channel_max=16, magnitude_beta=beta).eval()
    network.load_state_dict(convert_stylegan3_state(original_state(reference), network))
    return network


def tiny(**options: Any) -> StyleGAN3:
    torch.manual_seed(0)
    return StyleGAN3(**{**TINY, **options}).eval()


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.detach() - wanted).norm() / wanted.norm())


def fixture_names() -> list[str]:
    return ["input", *(f"L{i:02d}" for i in range(15))]


def test_outputs_styles_and_activations(network: StyleGAN3, reference: dict[str, Any]) -> None:
    ws = network.mapping(reference["in/z"])
    assert error(ws, reference["out/plain/ws"]) < 2e-5
    styles, features = network.styles(ws), None
    for layer, name in enumerate(fixture_names()):
        assert error(styles[layer], reference[f"out/plain/style/{name}"]) < 2e-5
        features = network.synthesis.run(styles, start_layer=layer, features=features, stop_layer=layer + 1)
        scale = 0.25 if layer == 15 else 1.0
        assert error(features, reference[f"out/plain/act/{name}"] * scale) < 2e-5, name
    assert error(network(reference["in/z"]), reference["out/plain/img"]) < 2e-5


def test_plain_operators_give_the_same(network: StyleGAN3, reference: dict[str, Any]) -> None:
    network.use_plain_operators()
    assert error(network(reference["in/z"]), reference["out/plain/img"]) < 2e-5


def test_truncation_latents_per_layer_and_transform(network: StyleGAN3, reference: dict[str, Any]) -> None:
    latent = reference["in/z"]
    ws = network.mapping(latent, truncation=0.7, truncation_cutoff=8)
    assert error(ws, reference["out/trunc/ws"]) < 2e-5
    assert error(network(latent, truncation=0.7, truncation_cutoff=8), reference["out/trunc/img"]) < 2e-5
    assert error(network.synthesis(reference["in/wplus"]), reference["out/wplus/img"]) < 2e-5
    styles = network.styles(network.mapping(latent))
    moved = network.synthesize_from_styles(styles, transform=reference["in/transform"])
    assert error(moved, reference["out/transform/img"]) < 2e-5
    network.synthesis.input.transform.copy_(reference["in/transform"])
    assert torch.equal(network(latent), moved)


def test_filters(network: StyleGAN3, reference: dict[str, Any]) -> None:
    for i, layer in enumerate(network.synthesis.layers[:-1]):  # type: ignore[arg-type, index]
        prefix = f"sd/synthesis.{reference['cfg']['layer_names'][i]}"
        for ours, name in zip(layer.plan.filters(), ("up_filter", "down_filter"), strict=True):
            assert error(ours, reference[f"{prefix}.{name}"]) < 2e-5


def test_style_gradients(network: StyleGAN3, reference: dict[str, Any]) -> None:
    ws = network.mapping(reference["in/z"]).detach().requires_grad_()
    styles = network.styles(ws)
    total = (network.synthesize_from_styles(styles) * reference["in/mask"]).sum()
    gradients = torch.autograd.grad(total, [*styles, ws])
    assert error(total, reference["out/grad/y"]) < 2e-4
    for name, gradient in zip(fixture_names(), gradients, strict=False):
        assert error(gradient, reference[f"out/grad/style/{name}"]) < 2e-4, name
    assert error(gradients[-1], reference["out/grad/ws"]) < 2e-4


def test_parameter_gradients(network: StyleGAN3, reference: dict[str, Any]) -> None:
    loss = (network(reference["in/z"]) * reference["in/mask"]).square().mean()
    loss.backward()
    assert error(loss, reference["out/pgrad/loss"]) < 1e-3
    wanted = {k[len("out/pgrad/") :]: v for k, v in reference.items() if k.startswith("out/pgrad/") and "loss" not in k}
    wanted = convert_stylegan3_state(wanted, network)
    parameters = dict(network.named_parameters())
    assert wanted.keys() == parameters.keys()
    for name, gradient in wanted.items():
        assert error(parameters[name].grad, gradient) < 1e-3, name  # type: ignore[arg-type]


def test_running_averages(network: StyleGAN3, reference: dict[str, Any]) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(reference["in/z"], update_averages=True)  # evaluation mode: nothing moves
    network.train()(reference["in/z"])  # not asked for: nothing moves
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert error(network(reference["in/z"], update_averages=True), reference["out/ema/img"]) < 2e-5
    after = {key[len("out/ema/sd/") :]: value for key, value in reference.items() if key.startswith("out/ema/sd/")}
    state = network.state_dict()
    for name, value in convert_stylegan3_state(after, network).items():
        assert error(state[name], value) < 2e-5, name


def test_conversion_refuses_what_does_not_fit(network: StyleGAN3, reference: dict[str, Any]) -> None:
    state = original_state(reference)
    with pytest.raises(WeightsError, match=r"has a layer L0_36_16, the network has L0_36_8"):
        convert_stylegan3_state(state, tiny())
    with pytest.raises(WeightsError, match=r"'discriminator\.b4' is not a parameter"):
        convert_stylegan3_state({"discriminator.b4": torch.zeros(1)}, network)
    rotation = tiny(config="r", z_dim=16, w_dim=16, channel_base=512, channel_max=16)
    with pytest.raises(WeightsError, match=r"L0_36_16\.down_filter differs"):
        convert_stylegan3_state(state, rotation)


@pytest.mark.parametrize(
    ("size", "config", "base", "cap", "channels", "sizes", "total"),
    [
        (256, "t", 32768, 512, [*[512] * 9, 362, 256, 181, 128, 128, 3],
         [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3 + [256] * 2, 6179),
        (512, "t", 32768, 512, [*[512] * 7, 483, 323, 215, 144, 96, 64, 64, 3],
         [36] * 2 + [52] * 2 + [84] * 2 + [148] * 2 + [276] * 2 + [532] * 3 + [512] * 2, 5489),
        (1024, "t", 32768, 512, [*[512] * 7, 323, 203, 128, 81, 51, 32, 32, 3],
         [36] * 2 + [52] * 2 + [84, 148, 148, 276, 276, 532] + [1044] * 3 + [1024] * 2, 4950),
        (256, "r", 65536, 1024, [*[1024] * 9, 724, 512, 362, 256, 256, 3],
         [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3 + [256] * 2, 12354),
    ],
)  # fmt: skip
def test_schedule_is_the_papers(
    size: int, config: str, base: int, cap: int, channels: list[int], sizes: list[int], total: int
) -> None:
    plans = plan_layers(image_size=size, config=config, channel_base=base, channel_max=cap)
    assert [plan.target.channels for plan in plans] == channels
    assert [plan.target.size for plan in plans] == sizes
    assert 4 + sum(plan.source.channels for plan in plans) == total
    paddings = {plan.padding for plan in plans[:-1]}
    allowed = {"t": {(9, 8), (-6, -9), (-11, -12)}, "r": {(11, 10), (-2, -5), (-9, -10)}}[config]
    assert paddings <= allowed


@settings(max_examples=8, deadline=None)
@given(start=st.integers(1, 15), seed=st.integers(0, 99))
def test_resuming_from_a_layer_equals_the_whole(start: int, seed: int) -> None:
    network = tiny()
    latent = torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        styles = network.styles(network.mapping(latent))
        cached = network.synthesis.run(styles, stop_layer=start)
        styles[start] = styles[start] + 0.3
        resumed = network.synthesis.run(styles, start_layer=start, features=cached)
        assert torch.equal(resumed, network.synthesize_from_styles(styles))


def test_layers_out_of_order_are_refused() -> None:
    network = tiny()
    styles = network.styles(network.mapping(torch.randn(1, 8)))
    with pytest.raises(ValueError, match="features must be the output of layer 2, got None"):
        network.synthesis.run(styles, start_layer=3)
    with pytest.raises(ValueError, match="pass features=None"):
        network.synthesis.run(styles, features=torch.zeros(1, 8, 36, 36))
    with pytest.raises(ValueError, match="need 0 <= start_layer < stop_layer <= 16, got 4 and 4"):
        network.synthesis.run(styles, start_layer=4, stop_layer=4, features=torch.zeros(1))
    with pytest.raises(ValueError, match="styles must be 16 tensors"):
        network.synthesize_from_styles(styles[:-1])


@settings(max_examples=20, deadline=None)
@given(widths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_style_space_is_a_bijection(widths: list[int]) -> None:
    space = StyleSpace(names=[str(i) for i in range(len(widths))], widths=widths)
    assert [space.index(*space.locate(k)) for k in range(space.size)] == list(range(space.size))
    flat = torch.arange(2.0 * space.size).view(2, -1)
    styles = space.split(flat)
    assert torch.equal(space.flatten(styles), flat)
    layer, channel = space.locate(space.size - 1)
    assert styles[layer][1, channel] == flat[1, -1]
    for k in (-1, space.size):
        with pytest.raises(IndexError, match=f"style channel {k} is not in"):
            space.locate(k)


def test_samples_do_not_depend_on_their_batch() -> None:
    network = tiny(num_classes=3)
    latent, grade = torch.randn(3, 8), torch.tensor([0, 2, 1])
    with torch.no_grad():
        whole = network(latent, grade)
        for i in range(3):
            torch.testing.assert_close(network(latent[i : i + 1], grade[i : i + 1])[0], whole[i], atol=1e-5, rtol=1e-4)


def test_demodulated_styles_are_free_of_scale() -> None:
    network = tiny()
    styles = network.styles(network.mapping(torch.randn(2, 8)))
    image = network.synthesize_from_styles(styles)
    for layer, changes in ((5, False), (15, True)):
        scaled = [style * 3 if i == layer else style for i, style in enumerate(styles)]
        difference = error(network.synthesize_from_styles(scaled), image.detach())
        assert (difference > 0.1) == changes, layer


def test_grade_changes_the_image_and_bad_grades_are_named() -> None:
    network = tiny(num_classes=5)
    latent = torch.randn(1, 8)
    assert not torch.allclose(network(latent, torch.tensor([0])), network(latent, torch.tensor([4])))
    torch.testing.assert_close(network(latent), network(latent, torch.tensor([5])))  # both are "unknown"
    for wrong in (-1, 6):
        with pytest.raises(ValueError, match=rf"grade must lie in 0..4 \(5 is unknown\), got \[{wrong}\]"):
            network(latent, torch.tensor([wrong]))
    with pytest.raises(ValueError, match=r"grade must be \(1,\) integers, got \(1,\) torch.float32"):
        network(latent, torch.tensor([1.0]))
    with pytest.raises(ValueError, match="this network is unconditional"):
        tiny()(latent, torch.tensor([0]))
    with pytest.raises(ValueError, match=r"latent must be \(B, 8\), got \[1, 7\]"):
        network(latent[:, :7], torch.tensor([0]))


def test_bad_configurations_are_named() -> None:
    for options, message in (
        ({"image_size": 100}, "image_size must be a power of two of at least 32, got 100"),
        ({"config": "x"}, "config must be 't' or 'r', got 'x'"),
        ({"amp": "half"}, "amp must be None, 'conv' or 'full', got 'half'"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(**options)


def test_truncation_zero_is_the_mean_and_mixing_takes_layers() -> None:
    network = tiny()
    network.w_avg.normal_()
    first, second = network.mapping(torch.randn(1, 8)), network.mapping(torch.randn(1, 8))
    torch.testing.assert_close(network.mapping(torch.randn(1, 8), truncation=0.0)[0, 3], network.w_avg)
    mixed = network.mix_styles(first, second, layers=range(8, 16))
    assert torch.equal(mixed[:, :8], first[:, :8])
    assert torch.equal(mixed[:, 8:], second[:, 8:])
    with pytest.raises(ValueError, match=r"truncation_cutoff must lie in 0..16, got 17"):
        network.mapping(torch.randn(1, 8), truncation=0.5, truncation_cutoff=17)
    with pytest.raises(ValueError, match=r"layers must lie in 0..15, got 16"):
        network.mix_styles(first, second, layers=[16])


def test_several_cotangents_at_once() -> None:
    network = tiny()
    styles = [style.detach().requires_grad_() for style in network.styles(network.mapping(torch.randn(1, 8)))]
    image, masks = network.synthesize_from_styles(styles), torch.rand(3, 1, 3, 32, 32)
    together = torch.autograd.grad(image, styles, masks, is_grads_batched=True, retain_graph=True)
    for i, mask in enumerate(masks):
        for batched, single in zip(together, torch.autograd.grad(image, styles, mask, retain_graph=True), strict=True):
            torch.testing.assert_close(batched[i], single)


@pytest.mark.parametrize("amp", ["conv", "full"])
def test_low_precision_stays_close_and_trains(amp: str) -> None:
    exact, low = tiny(), tiny(amp=amp)
    latent = torch.randn(2, 8)
    assert error(low(latent), exact(latent).detach()) < 0.05
    low(latent).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in low.parameters())


@pytest.mark.parametrize("config", ["t", "r"])
def test_every_parameter_gets_a_gradient(config: str) -> None:
    network = tiny(num_classes=2, config=config).train()
    network(torch.randn(2, 8), torch.tensor([0, 1])).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
