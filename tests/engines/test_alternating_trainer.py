"""The adversarial trainer: against a loop written by hand, its events, MONAI's parts, penalties, phases, hooks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.handlers import MetricLogger, StatsHandler
from torch import Tensor, nn

from monai_retina_gen.engines import AlternatingTrainer, ClipGradientNorm, FiniteGradients, GenerativeEvents, Phase
from monai_retina_gen.engines.distributed import seed_of
from monai_retina_gen.losses import AdversarialStep, R1Penalty, WeightClipping
from monai_retina_gen.losses.penalties import Penalty

Make = Callable[..., AlternatingTrainer]


def _by_hand(trainer: AlternatingTrainer, iterations: int) -> None:
    """WGAN-GP as in Algorithm 1 of Gulrajani et al., without the engine."""
    generator, critic = trainer.generator, trainer.discriminator
    loader = trainer.data_loader
    batches = []
    for epoch in (1, 2):
        loader.sampler.set_position(epoch=epoch)
        batches += list(loader)
    for i, batch in enumerate(batches[:iterations], start=1):
        shared = torch.Generator().manual_seed(seed_of(3, i))
        real, grade = batch["image"] * 2 - 1, batch["grade"]
        fake = generator(torch.randn(4, 3, generator=shared), grade).detach()
        mix = torch.rand(4, generator=shared)[:, None, None, None]
        between = (mix * real + (1 - mix) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between, grade).sum(), between, create_graph=True)
        loss = critic(fake, grade).mean() - critic(real, grade).mean()
        loss = loss + 10 * ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
        trainer.optimizers["discriminator"].zero_grad()
        loss.backward()
        trainer.optimizers["discriminator"].step()
        if i % 2 == 0:
            score = critic(generator(torch.randn(4, 3, generator=shared), grade), grade)
            trainer.optimizers["generator"].zero_grad()
            (-score.mean()).backward()
            trainer.optimizers["generator"].step()


def test_equals_a_loop_written_by_hand(make_trainer: Make) -> None:
    engine, hand = make_trainer(), make_trainer()
    engine.run()
    _by_hand(hand, 6)
    for network in ("generator", "discriminator"):
        for a, b in zip(getattr(engine, network).parameters(), getattr(hand, network).parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_events_and_counters(make_trainer: Make) -> None:
    trainer, seen = make_trainer(), []
    for event in [*GenerativeEvents, IterationEvents.MODEL_COMPLETED]:
        trainer.add_event_handler(event, lambda engine, e=event: seen.append(e.value))
    trainer.run()
    assert seen[:4] == ["d_step_started", "d_backward_completed", "d_step_completed", "model_completed"]
    assert seen[4:11] == [*seen[:3], "g_step_started", "g_backward_completed", "g_step_completed", "model_completed"]
    assert (trainer.state.iteration, trainer.state.g_steps, trainer.state.images_seen) == (6, 3, 24)


def test_every_step_of_the_critic_has_fresh_photographs_and_latents(make_trainer: Make) -> None:
    trainer = make_trainer(max_epochs=1, n_critic=3)
    reals: list[Tensor] = []
    latents: list[Tensor] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: reals.append(e.state.output["reals"]))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: latents.append(e.state.output["latents"]))
    trainer.run()
    assert torch.cat(reals).flatten(1).unique(dim=0).shape[0] == 12
    assert torch.cat(latents).unique(dim=0).shape[0] == 12


def test_output_has_ranges_shapes_and_no_gradients(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.run()
    output = trainer.state.output
    assert {"reals", "fakes", "latents", "pred", "image", "loss", "d_loss", "g_loss", "gradient_penalty"} <= set(output)
    assert output["pred"].shape == (4, 3, 4, 4)
    assert output["pred"].min() >= 0
    assert output["pred"].max() <= 1
    assert not any(v.requires_grad for v in output.values())


def test_monais_decollation_postprocessing_and_handlers_work(make_trainer: Make) -> None:
    calls = []

    def postprocessing(item: dict[str, Any]) -> dict[str, Any]:
        calls.append(tuple(item["pred"].shape))
        return item

    logger = MetricLogger(loss_transform=lambda output: output[0]["loss"])
    stats = StatsHandler(output_transform=lambda output: output[0]["loss"])
    make_trainer(decollate=True, postprocessing=postprocessing, train_handlers=[logger, stats]).run()
    assert calls == [(3, 4, 4)] * 24  # each image by itself, after every iteration
    assert len(logger.loss) == 6


def test_penalties_have_intervals_and_are_multiplied_by_them(make_trainer: Make) -> None:
    class Counting(Penalty):
        def loss(self, step: AdversarialStep) -> Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            return step.fake_scores.sum() * 0 + 1.0

    d, g = Counting(name="d", interval=4), Counting(name="g", interval=2, network="generator")
    trainer = make_trainer(penalties=[d, g], max_epochs=4)
    trainer.run()  # 12 iterations, 6 steps of the generator
    assert (d.calls, g.calls) == (3, 3)
    assert trainer.state.output["d"] == 1.0


def test_a_lazy_penalty_has_the_same_gradient_on_average(make_trainer: Make) -> None:
    class Pull(Penalty):
        def loss(self, step: AdversarialStep) -> Tensor:
            return self.weight.sum()  # gradient 1 everywhere

    moved = []
    for interval in (1, 3):
        pull = Pull(name="pull", interval=interval)
        trainer = make_trainer(penalties=[pull], n_critic=9, max_epochs=1, loss=_Nothing())
        pull.weight = trainer.discriminator.layers[1].weight
        trainer.optimizers["discriminator"] = torch.optim.SGD(trainer.discriminator.parameters(), 0.1)
        before = pull.weight.detach().clone()
        trainer.run()  # 3 iterations
        moved.append(before - pull.weight.detach())
    torch.testing.assert_close(moved[0], torch.full_like(moved[0], 0.3))
    torch.testing.assert_close(moved[1], moved[0])


class _Nothing:
    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        return 0.0 * (real_scores.sum() + fake_scores.sum())


def test_weight_clipping_holds_after_every_step(make_trainer: Make) -> None:
    trainer = make_trainer(penalties=[WeightClipping(limit=0.02)])
    largest: list[float] = []
    trainer.add_event_handler(
        GenerativeEvents.D_STEP_COMPLETED,
        lambda e: largest.append(max(float(p.detach().abs().max()) for p in e.discriminator.parameters())),
    )
    trainer.run()
    assert max(largest) <= 0.02 + 1e-8


def test_terms_of_the_loss_reach_their_network_alone(make_trainer: Make) -> None:
    def darkness(step: AdversarialStep) -> Tensor:
        return 100 * step.fake.mean()

    trainer = make_trainer(g_terms={"darkness": darkness}, max_epochs=20)
    trainer.run()
    assert trainer.state.output["fakes"].mean() < -0.9
    assert "darkness" in trainer.state.output


def test_phases_freeze_and_leave_out(make_trainer: Make) -> None:
    phases = [
        Phase("coarse", epochs=1, freeze=("generator.fine",), without=("gradient_penalty",)),
        Phase("all", epochs=1),
    ]
    trainer, log = make_trainer(phases=phases, n_critic=1), []
    fine = trainer.generator.fine.weight.detach().clone()
    trainer.add_event_handler(GenerativeEvents.PHASE_STARTED, lambda e: log.append(("started", e.state.phase)))
    trainer.add_event_handler(GenerativeEvents.PHASE_COMPLETED, lambda e: log.append(("completed", e.state.phase)))
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED(once=1),
        lambda e: log.append((torch.equal(fine, e.generator.fine.weight), "gradient_penalty" in e.state.output)),
    )
    trainer.run()
    assert log == [("started", 0), ("completed", 0), (True, False), ("started", 1), ("completed", 1)]
    assert not torch.equal(fine, trainer.generator.fine.weight)
    assert "gradient_penalty" in trainer.state.output


def test_the_critics_input_is_augmented_and_r1_is_taken_before(make_trainer: Make) -> None:
    class Halve(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images / 2

    plain = make_trainer(penalties=[R1Penalty(interval=1)], max_epochs=1, n_critic=9)
    halved = make_trainer(penalties=[R1Penalty(interval=1)], max_epochs=1, n_critic=9, augment=Halve())
    for trainer in (plain, halved):
        for name, parameter in trainer.discriminator.named_parameters():
            if "3" in name:
                nn.init.ones_(parameter)
            elif "weight" in name:
                nn.init.constant_(parameter, 1e-3)  # nearly linear: the chain rule gives one half
        trainer.optimizers["discriminator"] = torch.optim.SGD(trainer.discriminator.parameters(), 0.0)
        trainer.run()
    ratio = halved.state.output["r1"] / plain.state.output["r1"]
    assert ratio == pytest.approx(0.25, rel=0.02)


def test_gradient_transforms_see_all_gradients(make_trainer: Make) -> None:
    norms: list[float] = []

    def look(parameters: Any) -> None:
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in parameters)))

    make_trainer(gradient_transforms=[FiniteGradients(), ClipGradientNorm(max_norm=0.01), look]).run()
    assert len(norms) == 6 + 3
    assert max(norms) <= 0.0101


@pytest.mark.parametrize(("amp", "computed"), [(True, torch.bfloat16), (False, torch.float32)])
def test_losses_and_penalties_are_float32_whatever_the_networks_compute_in(
    make_trainer: Make, amp: bool, computed: torch.dtype
) -> None:
    trainer = make_trainer(amp=amp)
    seen: set[torch.dtype] = set()
    trainer.generator.coarse.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    trainer.run()
    output = trainer.state.output
    assert seen == {computed}
    assert {output[k].dtype for k in ("d_loss", "g_loss", "gradient_penalty", "fakes")} == {torch.float32}


def test_bad_arguments(make_trainer: Make) -> None:
    with pytest.raises(ValueError, match="n_critic must be at least 1"):
        make_trainer(n_critic=0)
    with pytest.raises(ValueError, match="share the names"):
        make_trainer(penalties=[R1Penalty()], g_terms={"r1": lambda step: step.fake.mean()})
