"""Blur of the discriminator's input, running means that follow its steps alone, and terms that learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from monai_retina_gen.engines import AlternatingTrainer, FadingBlur, average_buffers
from monai_retina_gen.handlers import FadingBlurHandler
from monai_retina_gen.losses import AdversarialStep


def test_kernel_is_the_published_one() -> None:
    blur = FadingBlur(images=100, sigma=2.0)
    blur.seen(50)  # sigma 1
    weights = torch.tensor([2.0 ** -(k**2) for k in range(-3, 4)])
    weights /= weights.sum()
    point = torch.zeros(1, 2, 9, 9)
    point[..., 4, 4] = 1
    torch.testing.assert_close(blur(point)[0, 1, 1:8, 1:8], torch.outer(weights, weights))


def test_blur_fades_with_the_images_seen_and_never_starts_at_zero(make_trainer: Callable[..., Any]) -> None:
    blur, widths = FadingBlur(images=16, sigma=4.0), []
    trainer: AlternatingTrainer = make_trainer(
        train_handlers=[FadingBlurHandler(blur=blur)], augment=blur, max_epochs=2
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: widths.append(blur.width))
    trainer.run()
    assert widths == [3.0, 2.0, 1.0, 0.0, 0.0, 0.0]  # 4 images an iteration
    assert FadingBlur(images=0).width == 0
    with pytest.raises(ValueError, match="must not be negative"):
        FadingBlur(images=-1)


def test_second_derivative_passes_the_blur() -> None:
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: FadingBlur(images=1, sigma=1.0)(x).square(), image)


def test_options_of_the_discriminators_steps(make_trainer: Callable[..., Any]) -> None:
    """The running mean moves once an iteration, and not at all without the option."""
    moved = {}
    for name, options in (("with", {"update_averages": True}), ("without", None)):
        trainer = make_trainer(d_step_options=options, max_epochs=1)
        trainer.run()
        moved[name] = float(trainer.generator.mean.abs().sum())
    assert moved["with"] > 0
    assert moved["without"] == 0
    average_buffers(nn.BatchNorm1d(2))  # one process: nothing to do


class _Learner(nn.Module):
    """A term that has a parameter of its own, and something to log."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.logs: dict[str, Tensor] = {}

    def forward(self, step: AdversarialStep) -> Tensor:
        self.logs = {"brightness": step.fake.detach().mean()}
        return (self.factor * step.fake.detach()).square().mean()


def test_a_term_learns_with_the_generator_and_logs(make_trainer: Callable[..., Any]) -> None:
    term = _Learner()
    trainer = make_trainer(g_terms={"learner": term}, max_epochs=1, gradient_transforms=[_count := _Count()])
    trainer.optimizers["generator"].add_param_group({"params": [term.factor]})
    trainer.run()
    assert term.factor < 1
    assert "brightness" in trainer.state.output
    own = len(list(trainer.generator.parameters()))
    assert own + 1 in _count.seen  # transforms and averages of gradients see it too


class _Count:
    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __call__(self, parameters: list[nn.Parameter]) -> None:
        self.seen.add(len(parameters))
