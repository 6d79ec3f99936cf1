"""Handlers of adversarial training: moving average, adaptive augmentation, guard against NaN."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_retina_gen.engines import DiscriminatorAugment
from monai_retina_gen.errors import TrainingDivergedError
from monai_retina_gen.handlers import AdaptiveAugmentHandler, GeneratorEMAHandler, NaNGuardHandler, ProgressHandler


def _engine(**state: Any) -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(**state), n_critic=2)


def test_moving_average_has_its_half_life() -> None:
    """After `half_life` images at a new weight, the average has come half of the way."""
    generator, ema = nn.Linear(1, 1), nn.Linear(1, 1)
    handler = GeneratorEMAHandler(generator=generator, ema=ema, half_life=800, ramp_up=0.0)
    with torch.no_grad():
        generator.weight.fill_(0.0)
        handler(_engine(g_steps=0, images_seen=16, iteration=2))  # the first step copies
        generator.weight.fill_(1.0)
        for step in range(1, 51):  # 50 steps with 2 critic steps of 8 images each: 800 images
            handler(_engine(g_steps=step, images_seen=16 * (step + 1), iteration=2 * (step + 1)))
    assert ema.weight.item() == pytest.approx(0.5, rel=1e-4)
    assert not ema.weight.requires_grad


def test_moving_average_ramps_up() -> None:
    handler = GeneratorEMAHandler(generator=nn.Linear(1, 1), ema=nn.Linear(1, 1), half_life=10_000, ramp_up=0.05)
    assert handler.decay(1000, 50) == pytest.approx(0.5)  # half life 50 after 1000 images
    assert handler.decay(10**9, 10_000) == pytest.approx(0.5)


@pytest.mark.parametrize(("buffers", "expected"), [("copy", 4.0), ("average", 2.0)])
def test_buffers_of_the_moving_average(buffers: str, expected: float) -> None:
    generator, ema = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    generator.running_mean.fill_(4.0)
    ema.running_mean.fill_(0.0)
    generator.num_batches_tracked.fill_(7)
    handler = GeneratorEMAHandler(generator=generator, ema=ema, half_life=16, ramp_up=0.0, buffers=buffers)
    handler(_engine(g_steps=1, images_seen=16, iteration=2))
    assert ema.running_mean.item() == pytest.approx(expected)
    assert ema.num_batches_tracked.item() == 7


def test_adaptive_augmentation_follows_the_sign_of_the_scores() -> None:
    augment = DiscriminatorAugment(p=0.0)
    handler = AdaptiveAugmentHandler(augment=augment, interval=4, images=640, limit=0.15)
    for iteration in range(1, 9):
        handler(_engine(real_scores=torch.ones(8), iteration=iteration))
    assert augment.p.item() == pytest.approx(2 * 32 / 640)  # two changes of 32 images each
    for iteration in range(9, 21):
        handler(_engine(real_scores=torch.ones(8), iteration=iteration))
    assert augment.p.item() == pytest.approx(0.15)  # the limit
    for iteration in range(21, 61):
        handler(_engine(real_scores=-torch.ones(8), iteration=iteration))
    assert augment.p.item() == 0.0
    mixed = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0])  # r_t = 0.6, the target: no change
    for iteration in range(61, 65):
        handler(_engine(real_scores=mixed, iteration=iteration))
    assert augment.p.item() == 0.0


def test_adaptive_augmentation_counts_images_and_not_places() -> None:
    """Several scales with scores of places change `p` as fast as one score an image does."""
    augment = DiscriminatorAugment(p=0.0)
    handler = AdaptiveAugmentHandler(augment=augment, interval=1, images=640)
    handler(_engine(real_scores={"score": [torch.ones(8, 4, 4), torch.ones(8)]}, iteration=1))
    assert augment.p.item() == pytest.approx(8 / 640)
    half = torch.ones(8, 4, 4)
    half[:, 2:] = -1  # r_t = (0 + 1) / 2, below the target
    handler(_engine(real_scores={"score": [half, torch.ones(8)]}, iteration=2))
    assert augment.p.item() == 0.0


def _trainer(losses: list[float]) -> Engine:
    engine = Engine(lambda e, batch: {"loss": torch.tensor(batch)})
    engine.losses = losses
    return engine


def test_guard_stops_at_nan_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "state_1.pt")
    torch.save({"w": torch.tensor([float("nan")])}, tmp_path / "state_2.pt")
    losses = [1.0, 0.5, float("nan"), 0.2, 0.1, 0.1]
    engine = _trainer(losses)
    NaNGuardHandler(ckpt_dir=tmp_path, interval=4).attach(engine)
    saved: list[int] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=4), lambda e: saved.append(e.state.iteration))
    with pytest.raises(TrainingDivergedError, match=r"by iteration 4.*state_1\.pt"):
        engine.run(losses, max_epochs=1)
    assert saved == []  # what is attached after the guard does not run


def test_guard_without_any_checkpoint_and_with_good_losses(tmp_path: Path) -> None:
    good = [1.0, 2.0, 3.0]
    engine = _trainer(good)
    NaNGuardHandler(ckpt_dir=tmp_path).attach(engine)
    engine.run(good, max_epochs=2)
    bad = [float("inf")]
    engine = _trainer(bad)
    NaNGuardHandler(ckpt_dir=tmp_path).attach(engine)
    with pytest.raises(TrainingDivergedError, match="no good checkpoint"):
        engine.run(bad, max_epochs=1)


def test_progress_logs_each_loss_over_the_steps_that_had_it(caplog: pytest.LogCaptureFixture) -> None:
    outputs = [{"d_loss": 1.0}, {"d_loss": 3.0, "g_loss": 5.0, "r1": 7.0}]
    engine = Engine(lambda e, batch: {k: torch.tensor(v) for k, v in batch.items()})
    ProgressHandler(keys=("d_loss", "g_loss", "r1")).attach(engine)
    with caplog.at_level("INFO"):
        engine.run(outputs, max_epochs=1)
    assert "d_loss 2, g_loss 5, r1 7" in caplog.text


def test_moving_average_goes_on_with_an_earlier_one() -> None:
    generator, ema = nn.Linear(1, 1), nn.Linear(1, 1)
    handler = GeneratorEMAHandler(generator=generator, ema=ema, half_life=16, ramp_up=0.0, overwrite=False)
    with torch.no_grad():
        generator.weight.fill_(1.0)
        ema.weight.fill_(3.0)
    handler(_engine(g_steps=0, images_seen=16, iteration=2))
    assert ema.weight.item() == pytest.approx(2.0)
