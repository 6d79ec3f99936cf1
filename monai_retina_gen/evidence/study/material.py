"""What the runs of a study work with: photographs, folds, and the images that generators make of a training part.

Whatever is made from photographs comes from those that a run trains on, never from those that select or judge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from monai_retina_gen.data import write_json
from monai_retina_gen.engines.cross_fitting import fold_of_group
from monai_retina_gen.generators import LesionPainterGenerator, RetinaGenerator

from .alternative_images import Alternatives, Bank, read_bank, read_made, write_bank, write_made
from .alternatives import judge, make_alternatives, make_bank
from .arms import Condition, bank_mode, paints
from .config import StudyConfig
from .photographs import Photographs, read_ahead

Rows = list[int]
SEVERE = (3, 4)  # grades of which `severe_share` keeps a share


@dataclass(frozen=True)
class Run:
    """One training: condition, grader, seed, and the fold that judges (-1 without cross-validation)."""

    condition: Condition
    grader: str
    seed: int
    fold: int = -1

    @property
    def id(self) -> str:
        """Name of the run's folder."""
        fold = "" if self.fold < 0 else f"--fold{self.fold}"
        return f"{self.condition.id}--{self.grader}--seed{self.seed}{fold}"


@dataclass(frozen=True)
class Split:
    """Rows of the photographs to train on, photographs that select, and rows that judge (none without folds)."""

    rows: Rows
    selecting: Photographs
    judged: Rows


class GeneratedImages:
    """Images that generators make for one training part, made at first use and kept, in folders named by `part`.

    Samples are of `grades`, by default those of the photographs.
    """

    def __init__(
        self,
        photographs: Photographs,
        generators: Mapping[str, RetinaGenerator],
        config: StudyConfig,
        part: str = "",
        *,
        grades: Collection[int] = (),
    ) -> None:
        self.photographs, self.generators, self.config, self.part = photographs, dict(generators), config, part
        self.grades = grades
        self._alternatives: dict[tuple[str, str, str], Alternatives] = {}
        self._banks: dict[tuple[str, str], Bank] = {}

    @property
    def banks(self) -> dict[str, Bank]:
        """Generated images by generator: those that the study's arms use."""
        anatomy = self.photographs.own_grades and any("vessel" in item for item in self.photographs.items)
        return {
            name: self._bank(name)
            for name, generator in self.generators.items()
            if (anatomy or bank_mode("", generator, self.config.arms) == "sample")
            and not isinstance(generator, LesionPainterGenerator)  # which draws no whole eyes
        }

    def _bank(self, name: str, arm: str = "") -> Bank:
        """Generated images for an arm; for none in particular, those of the arms that the study has."""
        mode = bank_mode(arm, self.generators[name], self.config.arms)
        if (name, mode) not in self._banks:
            # samples owe nothing to the photographs, but for their grades: one bank serves all parts
            names = [name] if mode == "sample" else [name, mode, *([self.part] if self.part else [])]
            folder = Path(self.config.out) / "banks" / "-".join(names)
            file = folder.with_name(f"{folder.name}.npz")
            if not file.is_file():
                made = make_bank(self.generators[name], self.photographs, folder, self.config, mode, grades=self.grades)
                write_bank(made, file)
            self._banks[name, mode] = read_bank(file)
        return self._banks[name, mode]

    def alternatives(self, condition: Condition) -> Alternatives | None:
        """What replaces photographs in a condition; a control replaces those that its generative arm replaces."""
        name, of = condition.generator, condition.of
        if not name:
            return None
        arm = "sample" if condition.arm == "sample-uniform" else condition.arm
        if arm == "nothing-new":  # of the edits alone: a canvas with nothing new is no eye of its grade
            return self._accepted_only(self._made(arm, name, "edit"), "edit", condition)
        if of:
            return self._made(arm, name, of).only_where(self._accepted_only(self._arm(of, name), of, condition))
        return self._accepted_only(self._arm(arm, name), arm, condition)

    def _arm(self, arm: str, name: str) -> Alternatives:
        """Without a gate."""
        if arm == "edit-canvas":
            return self._made("edit", name).mixed(self._made("canvas", name))
        return self._made(arm, name)

    def _made(self, arm: str, name: str, of: str = "") -> Alternatives:
        key = (arm, name, of)
        if key not in self._alternatives:
            file = self._folder / f"{arm}{f'-of-{of}' if of else ''}--{name}.npz"
            bank = self._bank(name, arm) if arm in ("sample", "synthesize") else None  # which has files of its own
            if bank is None and file.is_file():
                self._alternatives[key] = read_made(file)
            else:
                of_arm, generator = self._arm(of, name) if of else None, self.generators[name]
                made = make_alternatives(arm, generator, self.photographs, self.config, bank=bank, of=of_arm)
                if bank is None:
                    write_made(made, file)
                self._alternatives[key] = made
        return self._alternatives[key]

    @property
    def _folder(self) -> Path:
        return Path(self.config.out) / "made" / (self.part or "all")

    def _accepted_only(self, made: Alternatives, arm: str, condition: Condition) -> Alternatives:
        if not condition.gated:
            return made
        parts = ("edit", "canvas") if arm == "edit-canvas" else (arm,)
        return made.keep([good for part in parts for good in self._verdicts(part, condition.generator)])

    def _verdicts(self, arm: str, name: str) -> list[bool]:
        """What the gate says of each image of an arm."""
        file = self._folder / f"accepted-{arm}--{name}.json"
        if not file.is_file():
            write_json(judge(self._made(arm, name), self.photographs, self.config, edits=arm == "edit"), file)
        found: list[bool] = json.loads(file.read_text(encoding="utf-8"))
        return found


@dataclass
class Material:
    """Photographs of a study and the generators that make images of them.

    With cross-validation `training` holds those of validation too, and `validation` is not used.
    """

    training: Photographs
    validation: Photographs
    tests: Mapping[str, Photographs]  # `test`, and the external sets
    generators: dict[str, RetinaGenerator]
    config: StudyConfig
    _made: dict[str, GeneratedImages] = field(default_factory=dict, init=False)

    def move(self, device: str) -> None:
        """Bring the generators to a device, where they are not there yet."""
        for name, generator in self.generators.items():
            if generator.device.type != torch.device(device).type:
                self.generators[name] = generator.to(device)

    def read_ahead(self, jobs: int) -> None:
        """Read masks and lesions in several processes where painting wants them."""
        if any(paints(generator) for generator in self.generators.values()):
            read_ahead(self.training.items, self.config.image_size, jobs)

    def split(self, run: Run) -> Split:
        """Which photographs train, select and judge."""
        left = _subset(self.training, self.config.severe_share, run.seed)
        if run.fold < 0:
            return Split(left, self.validation, [])
        folds = self.config.cross_validation
        fold_of, selects = _folds(self.training, folds, run.seed), (run.fold + 1) % folds
        rows = [row for row in left if fold_of[row] not in (run.fold, selects)]
        selecting = self.training.select([row for row, fold in enumerate(fold_of) if fold == selects])
        return Split(rows, selecting, [row for row, fold in enumerate(fold_of) if fold == run.fold])

    def part(self, run: Run) -> str:
        """Name of a run's training part, `""` where all runs have the same."""
        fold = "" if run.fold < 0 else f"-fold{run.fold}"
        return f"seed{run.seed}{fold}" if fold or self.config.severe_share < 1 else ""

    def generated(self, run: Run) -> GeneratedImages:
        """Images made for the training part of a run; those of one part at a time are kept."""
        part = self.part(run)
        if part not in self._made:
            photographs = self.training.select(self.split(run).rows)
            whole = set(self.training.grades)
            self._made = {part: GeneratedImages(photographs, self.generators, self.config, part, grades=whole)}
        return self._made[part]


def _subset(photographs: Photographs, share: float, seed: int) -> list[int]:
    """Rows without a share of the grades 3 and 4; a smaller share lies within a larger one of the same seed."""
    random = torch.Generator().manual_seed(seed)
    kept = set(range(len(photographs)))
    for severe in SEVERE:
        rows = [row for row, grade in enumerate(photographs.grades) if grade == severe]
        order = torch.randperm(len(rows), generator=random).tolist()
        kept -= {rows[place] for place in order[math.ceil(share * len(rows)) :]}
    return sorted(kept)


def _folds(photographs: Photographs, count: int, seed: int) -> list[int]:
    """Fold of each photograph: groups and blocks together, labels spread evenly, another division for every seed."""
    items = [
        {**item, "group": group, "label": label}
        for item, group, label in zip(photographs.items, photographs.groups, photographs.labels.tolist(), strict=True)
    ]
    fold_of = fold_of_group(items, count, seed=seed, stratify="label")
    return [fold_of[group] for group in photographs.groups]
