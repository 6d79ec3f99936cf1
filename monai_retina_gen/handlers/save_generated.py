"""Writes what a generator makes inside an evaluator: PNG files that carry their record, and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from monai_retina_gen.data import RECORD_KEY, GenerationRecord, write_image, write_manifest

__all__ = ["SaveGeneratedHandler"]


class SaveGeneratedHandler:
    """Saves every image of a run as `grade<g>_seed<s>.png`.

    Args:
        output_dir: folder of the images and `manifest.json`.
        inferer: the evaluator's `GeneratorInferer`, whose last batch is written.
    """

    first_process_only = True

    def __init__(self, *, output_dir: str, inferer: Any) -> None:
        self.folder, self.inferer = Path(output_dir), inferer
        self._entries: list[tuple[str, GenerationRecord]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._entries = []
        self.folder.mkdir(parents=True, exist_ok=True)

    def _save(self, engine: Engine) -> None:
        batch = self.inferer.last_batch
        for image, record in zip(batch.image, batch.records, strict=True):
            name = f"grade{record.grade}_seed{record.seed}.png"
            write_image(self.folder / name, image, text={RECORD_KEY: record.to_json()}, xmp=record.to_xmp())
            self._entries.append((name, record))

    def _finish(self, engine: Engine) -> None:
        write_manifest(self.folder, self._entries)
