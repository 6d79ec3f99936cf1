"""Writes the metrics of an evaluation to one JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from monai_retina_gen.data import write_json

__all__ = ["MetricsFileHandler"]


class MetricsFileHandler:
    """Writes every figure of `engine.state.metrics` under its name; MONAI's `MetricsSaver` writes a CSV file each.

    Args:
        path: the JSON file; its folder is made.
    """

    first_process_only = True

    def __init__(self, *, path: str) -> None:
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json({name: _plain(value) for name, value in engine.state.metrics.items()}, self.path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value
