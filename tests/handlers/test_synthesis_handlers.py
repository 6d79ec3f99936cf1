"""Synthesis grids, and the switch between the stages of a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ignite.engine import Engine, Events

from monai_retina_gen.data import CONDITION_KEYS
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.engines import GenerativeEvents
from monai_retina_gen.handlers import StageHandler, SynthesisGridHandler, condition_picture


class White:
    """A generator of white images."""

    def __init__(self) -> None:
        self.network = torch.nn.Linear(1, 1).train()
        self.seeds: list[list[int]] = []

    def images(self, condition: torch.Tensor, grades: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        assert not self.network.training
        assert len(condition) == len(grades) == len(seeds)
        self.seeds.append(seeds)
        return torch.ones(len(condition), 3, *condition.shape[2:])


def test_grid_of_photographs_masks_and_images(tmp_path: Path) -> None:
    items = [{"image": torch.full((3, 8, 8), 0.5), "condition": torch.zeros(9, 8, 8), "grade": i} for i in range(4)]
    generator = White()
    handler = SynthesisGridHandler(generator=generator, dataset=items, output_dir=str(tmp_path), rows=2, interval=1)
    engine = Engine(lambda engine, batch: None)
    handler.attach(engine)
    engine.run([0], max_epochs=2)
    grid = read_image(tmp_path / "synthesis_0002.png")
    assert grid.shape == (3, 2 * 8, 4 * 8)
    assert grid[:, :, :8].mean() == grid[:, :, :8].max()  # the photographs
    assert grid[:, :, 8:16].max() == 0  # empty masks
    assert grid[:, :, 16:].min() == 1
    assert generator.network.training
    assert all(seeds == generator.seeds[0] for seeds in generator.seeds)
    generator.network.eval()
    handler.reduction = 2
    assert handler.grid().shape == (3, 8, 16)


def test_small_lesions_lie_on_top() -> None:
    condition = torch.ones(1, 9, 2, 2)
    everything = condition_picture(condition)
    condition[:, CONDITION_KEYS.index("ma")] = 0
    assert not torch.equal(everything, condition_picture(condition))
    condition[:, CONDITION_KEYS.index("fov")] = 0
    assert condition_picture(condition).shape == (1, 3, 2, 2)


def test_stages_follow_the_phases() -> None:
    networks = [SimpleNamespace(stages=2, active_stages=2) for _ in range(2)]
    prepare, forgotten = SimpleNamespace(reduction=1), []
    validator = SimpleNamespace(state=SimpleNamespace(best_metric_epoch=7))
    saver: Any = SimpleNamespace(_key_metric_checkpoint=SimpleNamespace(reset=lambda: forgotten.append(True)))
    handler = StageHandler(networks=networks, stages=[1, 2], reduced=[prepare], validator=validator, savers=[saver])
    engine = Engine(lambda engine, batch: None)
    engine.register_events(*GenerativeEvents)
    engine.state.phase = 0  # type: ignore[attr-defined]
    handler.attach(engine)
    seen = []

    @engine.on(Events.EPOCH_STARTED)
    def _enter() -> None:
        engine.state.phase = engine.state.epoch - 1  # type: ignore[attr-defined]
        engine.fire_event(GenerativeEvents.PHASE_STARTED)
        seen.append(([network.active_stages for network in networks], prepare.reduction))

    engine.run([0], max_epochs=2)
    assert seen == [([1, 1], 2), ([2, 2], 1)]
    assert validator.state.best_metric_epoch == -1
    assert forgotten == [True, True]
