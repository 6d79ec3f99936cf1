"""StyleDiscriminator: R1 against finite differences, grouping, conditioning, blur, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.networks import StyleDiscriminator


def tiny(**options: object) -> StyleDiscriminator:
    torch.manual_seed(0)
    return StyleDiscriminator(**{"image_size": 16, "channel_base": 64, "channel_max": 4, **options})  # type: ignore[arg-type]


def r1(network: nn.Module, image: Tensor, grade: Tensor | None) -> Tensor:
    image = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(image, grade).sum(), image, create_graph=True)
    return gradient.square().sum()


@pytest.mark.parametrize("num_classes", [0, 3])
def test_r1_gradient_equals_finite_differences(num_classes: int) -> None:
    network = tiny(num_classes=num_classes).double()
    image = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    grade = torch.tensor([0, 1, 2, 1]) if num_classes else None
    parameters = dict(network.named_parameters())
    found = torch.autograd.grad(r1(network, image, grade), list(parameters.values()), allow_unused=True)
    for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
        direction, values = torch.randn_like(parameter), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-5 * direction
            values.append(float(r1(network, image, grade).detach()))
            with torch.no_grad():
                parameter -= sign * 1e-5 * direction
        expected = (values[0] - values[1]) / 2e-5
        analytic = 0.0 if gradient is None else float((gradient * direction).sum())
        assert analytic == pytest.approx(expected, rel=1e-4, abs=1e-9), name


def test_gradient_and_double_backward_of_the_image() -> None:
    network = tiny(image_size=8).double()
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (image,), fast_mode=True)
    assert torch.autograd.gradgradcheck(network, (image,), fast_mode=True)


def test_blur_is_the_binomial_filter() -> None:
    block = tiny().blocks[0]
    impulse = torch.zeros(1, 1, 8, 8)
    impulse[0, 0, 4, 4] = 64.0
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    assert torch.equal(block.blur(impulse)[0, 0, 3:7, 3:7], torch.outer(line, line))  # type: ignore[operator, union-attr]
    assert torch.equal(block.halve(impulse), block.blur(impulse)[:, :, 1::2, 1::2][:, :, :4, :4])  # type: ignore[operator, union-attr]


def test_minibatch_deviation_sees_its_group_alone() -> None:
    network = tiny(group_size=2).eval()
    image = torch.randn(4, 3, 16, 16)
    changed = image.clone()
    changed[3] = torch.randn(3, 16, 16)  # grouped with sample 1
    moved = (network(image) != network(changed)).tolist()
    assert moved == [False, True, False, True]
    alone = torch.cat([network(image[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(image[:3]), alone)  # 3 are no multiple of 2: groups of one


def test_grade_decides_the_score() -> None:
    network = tiny(num_classes=5)
    image = torch.randn(1, 3, 16, 16)
    assert network(image, torch.tensor([0])) != network(image, torch.tensor([4]))
    assert network(image) == network(image, torch.tensor([5]))  # both are "unknown"
    with pytest.raises(ValueError, match=r"grade must lie in 0..4 \(5 is unknown\), got \[6\]"):
        network(image, torch.tensor([6]))


def test_channels_follow_the_resolution() -> None:
    network = StyleDiscriminator(image_size=256, channel_base=2048, channel_max=64)
    widths = [block.conv0.weight.shape[0] for block in network.blocks]  # type: ignore[union-attr]
    assert widths == [8, 16, 32, 64, 64, 64]
    assert network.hidden.weight.shape == (64, 64 * 16)


def test_low_precision_stays_close() -> None:
    exact, low = tiny(), tiny(amp=True)
    image = torch.randn(4, 3, 16, 16)
    assert low(image).dtype == torch.float32
    torch.testing.assert_close(low(image), exact(image), atol=0.05, rtol=0.1)
    r1(low, image, None).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in low.parameters())


def test_bad_images_are_named() -> None:
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 16, 16\), got \(1, 3, 8, 8\)"):
        tiny()(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="image_size must be a power of two of at least 8, got 12"):
        tiny(image_size=12)
