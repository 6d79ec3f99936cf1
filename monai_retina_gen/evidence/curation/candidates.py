"""Candidates of a curation: drawn from consecutive seeds, scored once, kept on disk batch by batch.

Every batch has its full size whatever the number of candidates, so that a curation can be stopped, started again and
asked for more candidates, and always sees the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import write_json
from monai_retina_gen.data.files import begin_folder
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.content_record import generator_record
from monai_retina_gen.weights import load_state, save_state, state_sha256

TABLE = ("curated_latents", "curated_counts")
"""Buffers of an unconditional network that curation itself writes."""


def is_unconditional(generator: RetinaGenerator) -> bool:
    """Whether the generator's network knows no grades, so that curation has to say which image has which."""
    return getattr(generator, "conditional", True) is False


def network_sha256(state: dict[str, Tensor]) -> str:
    """Hash of a network's weights without the table of curated latents: storing it does not make it another network."""
    return state_sha256({name: value for name, value in state.items() if name.rsplit(".", 1)[-1] not in TABLE})


class CandidatePool:
    """The candidates of a generator, with features and the graders' probabilities.

    Args:
        folder: where batches are kept.
        generator: unconditional, or any that samples for grades; then grades are asked for in turn.
        extractor: gives the features that realism is scored with.
        graders: give the probabilities, which are averaged.
        seed: seed of the first candidate; the others follow.
        batch_size: candidates per forward pass.

    Raises:
        ValueError: if `folder` holds candidates of another generator, extractor, graders, seed or batch size.
    """

    def __init__(
        self,
        folder: Path,
        generator: RetinaGenerator,
        extractor: Extractor,
        graders: Sequence[GraderJudge],
        *,
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        self.folder, self.generator, self.extractor, self.graders = folder, generator, extractor, graders
        self.seed, self.batch_size, self.count = seed, batch_size, 0
        settings = {
            "network_sha256": network_sha256(generator.network.state_dict()),
            "generator": generator_record(generator)["settings"],
            "extractor": extractor.as_dict(),
            "graders": [grader.as_dict() for grader in graders],
            "seed": seed,
            "batch_size": batch_size,
        }
        begin_folder(folder, settings)

    def draw(self, count: int, progress: bool = True) -> tuple[Tensor, Tensor]:
        """Features `(count, d)` and probabilities `(count, grades)` of the first candidates; made where not on disk."""
        self.count = count
        starts = range(0, count, self.batch_size)
        bar = tqdm(starts, desc=f"candidates of {self.generator.name}", unit="batch", disable=not progress)
        batches = [self._batch(start) for start in bar]
        features, probabilities = (torch.cat([b[key] for b in batches])[:count] for key in ("features", "grades"))
        return features, probabilities

    def probabilities(self, images: Tensor, groups: Sequence[str | None] | None = None) -> Tensor:
        """Mean of the graders' probabilities `(B, grades)`; see `GraderJudge`."""
        return torch.stack([grader.probabilities(images, groups) for grader in self.graders]).mean(0)

    def images(self, rows: list[int]) -> Tensor:
        """`(n, 3, S, S)` uint8, as the candidates were judged."""
        return self._gather("images", rows, (0, 3, self.generator.image_size, self.generator.image_size)).byte()

    def latents(self, rows: list[int]) -> Tensor:
        """`(n, latent_dim)` float32 whose values half precision holds exactly; of an unconditional generator."""
        generator: Any = self.generator
        return self._gather("latents", rows, tuple(generator.latents([]).shape))

    def records(self) -> list[GenerationRecord]:
        """The record of every candidate; its grade means something only where one was asked for."""
        found = []
        for start in range(0, self.count, self.batch_size):
            found += [GenerationRecord(**r) for r in json.loads(self._path(start, "json").read_text(encoding="utf-8"))]
        return found[: self.count]

    def _gather(self, key: str, rows: list[int], empty: tuple[int, ...]) -> Tensor:
        starts = sorted({row - row % self.batch_size for row in rows})
        batches = {start: load_state(self._path(start, "pt"))[key] for start in starts}
        found = [batches[row - row % self.batch_size][row % self.batch_size] for row in rows]
        return torch.stack(found) if found else torch.zeros(empty)

    def _path(self, start: int, suffix: str) -> Path:
        return self.folder / f"{start:07d}.{suffix}"

    def _batch(self, start: int) -> dict[str, Tensor]:
        """Scores of one batch: read where it stands, else made. The `.pt` comes last: with it all is there."""
        path = self._path(start, "pt")
        if not path.is_file():
            made, latents, records = self._drawn([self.seed + start + i for i in range(self.batch_size)])
            images = (made.float().cpu() * 255).round().clamp(0, 255).byte()
            seen = images.float() / 255  # judged as they will be written
            scores = {"features": self.extractor(seen), "grades": self.probabilities(seen).float()}
            write_json([json.loads(record.to_json()) for record in records], self._path(start, "json"))
            save_state({"images": images, "latents": latents, **scores}, path)
        return {key: value for key, value in load_state(path).items() if key in ("features", "grades")}

    @torch.no_grad()
    def _drawn(self, seeds: list[int]) -> tuple[Tensor, Tensor, list[GenerationRecord]]:
        """Images, what made them (empty for a generator that takes grades), and their records."""
        generator: Any = self.generator
        if not is_unconditional(generator):
            batch = generator.sample([seed % generator.num_classes for seed in seeds], seeds=seeds)
            return batch.image, torch.zeros(len(seeds), 0), batch.records
        # The bundle's table holds halves: what is judged is what they make.
        latents = generator.latents(seeds).cpu().half().float()
        options = {"curated": False, "temperature": 1.0}
        records = [generator.record("sample", 0, seed, options=options) for seed in seeds]
        return generator.images(latents), latents, records
