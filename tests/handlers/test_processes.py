"""Handlers of several processes: what all need stays, what writes runs in the first, and a user's own is not lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine
from monai.handlers import LrScheduleHandler, StatsHandler, TensorBoardStatsHandler, ValidationHandler

from monai_retina_gen import handlers as ours
from monai_retina_gen.handlers import handlers_of_process

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


class Mine:
    """A handler that a user adds to `train#handlers`."""

    def attach(self, engine: Engine) -> None:
        pass


class MyStats(StatsHandler):
    """One that only prints, by inheritance."""


class MyFile(Mine):
    first_process_only = True


def test_own_handlers_run_in_every_process() -> None:
    schedule, validation = object.__new__(LrScheduleHandler), object.__new__(ValidationHandler)
    everywhere: list[Any] = [schedule, Mine(), validation]
    writing = [StatsHandler(), MyStats(), MyFile(), object.__new__(TensorBoardStatsHandler)]
    mixed = [writing[0], everywhere[0], *writing[1:3], *everywhere[1:], writing[3]]
    assert handlers_of_process(mixed, rank=0) == mixed
    assert handlers_of_process(mixed, rank=1) == everywhere
    assert handlers_of_process(mixed, rank=7) == everywhere


def test_every_handler_of_the_package_has_its_place() -> None:
    names = [name for name in vars(ours) if name.endswith("Handler")]
    once = {name for name in names if not handlers_of_process([object.__new__(getattr(ours, name))], rank=1)}
    assert once == {
        "MetricsFileHandler",
        "PaintingSheetHandler",
        "ProgressHandler",
        "ReconstructionSheetHandler",
        "SampleGridHandler",
        "SaveGeneratedHandler",
        "SynthesisGridHandler",
    }


@pytest.mark.parametrize("path", sorted(BUNDLES.glob("*/configs/*.json")), ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_no_configuration_chooses_handlers_by_the_name_of_their_class(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    assert "__name__" not in json.dumps(config)
    if path.stem == "multi_gpu_train":
        for key in ("train#trainer#train_handlers", "validate#evaluator#val_handlers"):
            handlers = f"@{key.split('#')[0]}#handlers"
            assert f"handlers_of_process({handlers}, rank=dist.get_rank())" in config[key]
