"""Candidates of a curation, drawn from consecutive seeds and scored once, and the choice among them.

They are kept on disk batch by batch, and every batch has its full size: a curation that is started again, or asked for
more candidates, sees the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import write_json
from monai_retina_gen.data.files import begin_folder
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.content_record import generator_record
from monai_retina_gen.metrics import nearest_distance, realism_score
from monai_retina_gen.weights import load_state, save_state, state_sha256

TABLE = ("curated_latents", "curated_counts")  # buffers of an unconditional network that curation itself writes


def is_unconditional(generator: RetinaGenerator) -> bool:
    """Whether the generator's network knows no grades, so that curation has to say which image has which."""
    return getattr(generator, "conditional", True) is False


def network_sha256(state: dict[str, Tensor]) -> str:
    """Hash of a network's weights without the table of curated latents: storing it does not make it another network."""
    return state_sha256({name: value for name, value in state.items() if name.rsplit(".", 1)[-1] not in TABLE})


class CandidatePool:
    """The candidates of a generator, with features and the graders' averaged probabilities, in batches in `folder`.

    A generator that takes grades is asked for each in turn. A `ValueError` says where `folder` holds candidates of
    another generator, extractor, graders, seed or batch size.
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


REASONS = {
    "copy": "coincides with a photograph in the extractor's features",
    "unrealistic": "realism below the threshold",
    "unsure": "the graders' confidence is below the threshold",
    "other grade": "the graders see another grade than was asked for",
    "grade full": "its grade has as many images as were asked for",
}
"""Why a candidate is refused, in the order in which it is tested."""


@dataclass(frozen=True)
class Selection:
    """Which candidates are kept."""

    grades: list[int]  # the graders' grade of each candidate
    reasons: list[str]  # why each is refused, a key of `REASONS`; "" for one that is kept

    def rows(self, *, reason: str = "", grade: int | None = None) -> list[int]:
        """Candidates of one reason (kept ones by default), of one grade where it is given."""
        pairs = enumerate(zip(self.reasons, self.grades, strict=True))
        return [i for i, (r, g) in pairs if r == reason and grade in (None, g)]


def select(
    realism: Tensor,
    copies: Sequence[bool],
    probabilities: Tensor,
    asked: Sequence[int] | None,
    *,
    per_grade: int,
    min_realism: float,
    confidence: float,
) -> Selection:
    """Fill every grade in the order of the candidates, which is that of their seeds.

    Not by realism: that is highest in the middle of dense groups, so that the best are the most alike. In the order of
    seeds the kept images are a fair draw of all that pass. `asked` is None for a generator that takes no grades.
    """
    highest, labels = probabilities.max(dim=1)
    grades = labels.tolist()
    wanted = grades if asked is None else asked
    kept = dict.fromkeys(range(probabilities.shape[1]), 0)
    reasons = []
    for i, grade in enumerate(grades):
        tests = {
            "copy": copies[i],
            "unrealistic": not realism[i] >= min_realism,
            "unsure": not highest[i] >= confidence,
            "other grade": wanted[i] != grade,
            "grade full": kept[grade] >= per_grade,
        }
        reason = next((name for name, refused in tests.items() if refused), "")
        kept[grade] += not reason
        reasons.append(reason)
    return Selection(grades, reasons)


@dataclass(frozen=True)
class Reference:
    """The photographs that a curation is measured against, and how they themselves would fare."""

    grades: list[int]
    sha256: str  # of their pixels as they were read
    features: Tensor  # (n, d)
    probabilities: Tensor  # (n, grades), of the graders
    k: int  # neighbour that sets the radius of the realism score

    def realism(self, features: Tensor) -> Tensor:
        """Realism scores `(m,)` of candidates."""
        return realism_score(self.features, features, k=self.k)

    def copies(self, features: Tensor) -> list[bool]:
        """Candidates that coincide with a photograph, also with one of the half that the realism score leaves out."""
        found: list[bool] = (nearest_distance(features.double(), self.features.double())[0] == 0).tolist()
        return found

    def realistic(self, threshold: float, seed: int = 0) -> dict[str, Any] | None:
        """Share of a random half of the photographs that passes against the other half; `None` if too few."""
        half = len(self.features) // 2
        if half < self.k + 1:
            return None
        order = torch.randperm(len(self.features), generator=torch.Generator().manual_seed(seed))
        rows, others = order[:half], order[half : 2 * half]
        scores = realism_score(self.features[others], self.features[rows], k=self.k)
        return {"n": half, "share_passing": float((scores >= threshold).double().mean())}

    def confident(self, threshold: float) -> dict[str, Any]:
        """Share of photographs whose grade the graders are sure of, and their agreement with the label among these."""
        highest, labels = self.probabilities.max(dim=1)
        sure = highest >= threshold
        right = (labels == torch.tensor(self.grades))[sure]
        return {
            "n": len(sure),
            "share_passing": float(sure.double().mean()),
            "agreement": float(right.double().mean()) if len(right) else None,
        }


def score_photographs(pool: CandidatePool, real: ImageSet, *, k: int, batch_size: int = 32) -> Reference:
    """Features and probabilities of photographs, by the pool's extractor and graders, kept beside its candidates."""
    sha256 = hashlib.sha256(real.images.numpy().tobytes()).hexdigest()
    whose = hashlib.sha256(json.dumps([sha256, real.groups]).encode()).hexdigest()  # judged out of the group's fold
    path = pool.folder / f"photographs_{whose[:12]}.pt"
    if not path.is_file():
        slices = [slice(start, start + batch_size) for start in range(0, len(real), batch_size)]
        seen = [pool.probabilities(real.floats(rows), real.groups[rows]) for rows in slices]
        save_state({"features": real.features(pool.extractor), "grades": torch.cat(seen).float()}, path)
    state = load_state(path)
    return Reference(real.grades, sha256, state["features"], state["grades"], k)
