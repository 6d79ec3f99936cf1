"""The selection-rate study: one training at each threshold, its samples ranked, pictured and measured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from monai_retina_gen.data import (
    SECTIONS,
    Datalist,
    Item,
    SelectionRateFilter,
    count_grades,
    save_datalist,
    write_image,
    write_json,
)
from monai_retina_gen.data.files import begin_folder
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, sampled_images
from monai_retina_gen.evidence.report.pictures import strip
from monai_retina_gen.evidence.study.selection_rate import ranking
from monai_retina_gen.evidence.study.selection_rate.training import Trained, Trainer
from monai_retina_gen.generators.content_record import items_sha256
from monai_retina_gen.metrics import realism_score

RESULT = "selection_rate"
K = 3


class SelectionRateStudy:
    """Trainings on photographs cut by selection rate, and the figures of their samples.

    `trainer` trains on a datalist, `load` reads items as images of the generator's size, and `settings` are what a
    training depends on. Thresholds that are done in `output_dir` are not trained again. `top` is how many are best, and
    how many worst, of `samples` with the grade frequencies of the photographs. Items without a grade are one class.
    """

    def __init__(
        self,
        *,
        datalist: Datalist,
        thresholds: Sequence[float],
        trainer: Trainer,
        load: Callable[[Sequence[Item]], ImageSet],
        settings: Mapping[str, Any],
        output_dir: str | os.PathLike[str],
        samples: int = 100,
        top: int = 10,
        extractor: Extractor,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        if not ranking.SMALLEST <= top <= samples // 2:
            raise ValueError(f"top={top} of samples={samples}: {ranking.SMALLEST} to half of them are wanted")
        self.datalist, self.classes = _graded(datalist)
        self.filters = [SelectionRateFilter(threshold) for threshold in sorted(set(thresholds))]
        for cut in self.filters:  # before anything is trained
            left = len(cut(self.datalist)["training"])
            if left < ranking.SMALLEST:
                rates = [item["selection_rate"] for item in self.datalist["training"]]
                raise DatalistError(
                    f"threshold {cut.threshold:g} leaves {left} training photographs, {ranking.SMALLEST} are wanted; "
                    f"the highest selection rate is {max(rates, default=0):g}. Leave this threshold out."
                )
        self.trainer, self.load, self.extractor, self.device = trainer, load, extractor, device
        self.samples, self.top, self.seed, self.folder = samples, top, seed, Path(output_dir)
        self.trainer_settings = dict(settings)
        keys = ("image", "grade", "group", "selection_rate")
        begun = {
            "trainer": self.trainer_settings,
            "extractor": extractor.as_dict(),
            "items_sha256": {section: items_sha256(self.datalist[section], keys) for section in SECTIONS},
            "samples": samples,
            "top": top,
            "seed": seed,
        }
        begin_folder(self.folder, begun)

    def run(self) -> dict[str, Any]:
        """Train and measure what is not yet done; write `selection_rate.json`, `selection_rate.md` and `sheet.png`."""
        columns = [self._column(cut) for cut in self.filters]
        result = {
            "kind": RESULT,
            "trainer": self.trainer_settings,
            "extractor": self.extractor.as_dict(),
            "classes": self.classes,
            "columns": columns,
            "warnings": list(self._warnings(columns)),
        }
        write_json(result, self.folder / f"{RESULT}.json")
        (self.folder / f"{RESULT}.md").write_text(ranking.markdown(result), encoding="utf-8")
        ranking.write_sheet(result, self.folder)
        return result

    def _column(self, cut: SelectionRateFilter) -> dict[str, Any]:
        """One threshold: read where it is done, else trained (or gone on with) and measured."""
        folder = self.folder / f"rate_{cut.threshold:g}"
        done = folder / "result.json"
        if done.is_file():
            found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
            return found
        kept = cut(self.datalist)
        save_datalist(kept, folder / "datalist.json")
        trained = self.trainer(folder / "datalist.json", folder / "training")
        result = {
            "threshold": cut.threshold,
            "folder": folder.name,
            "top": self.top,
            "n_training": len(kept["training"]),
            "photographs": {str(g): n for g, n in count_grades(kept["training"]).items()},
            "weights_sha256": trained.generator.weights_sha256,
            **self._measure(trained, kept, folder),
        }
        write_json(result, done)
        return result

    def _measure(self, trained: Trained, kept: Datalist, folder: Path) -> dict[str, Any]:
        real = {name: self.load(kept[name]) for name in ("training", "validation") if kept[name]}
        features = {name: images.features(self.extractor) for name, images in real.items()}
        features.setdefault("validation", torch.zeros(0, self.extractor.dimension))
        grades = sorted(real["training"].grades)
        asked = [grades[i * len(grades) // self.samples] for i in range(self.samples)]
        samples = sampled_images(trained.generator, asked, seed=self.seed)
        drawn = samples.features(self.extractor)
        conditional = bool(getattr(trained.generator, "conditional", True))
        scores = {
            "critic": ranking.critic_scores(trained.critic, samples, conditional=conditional, device=self.device),
            "realism": realism_score(features["training"], drawn, k=K),
        }
        groups = ranking.groups_of(scores, self.top)
        for name, rows in groups.items():
            if name != "all":
                write_image(folder / f"{name}.png", strip(samples.select(rows)))
        return {
            "n_validation": len(features["validation"]),
            "n_samples": len(samples),
            "figures": ranking.figures(features, drawn, groups, self.extractor),
            "rankings": {name: [samples.names[i] for i in rows] for name, rows in groups.items()},
        }

    def _warnings(self, columns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        yield (
            f"Top and bottom are {self.top} samples: FID and KID of so few say almost nothing. The covariance of "
            f"{self.extractor.dimension} features cannot be estimated from {self.top} images, and FID falls with n."
        )
        yield (
            "Each column has other training photographs, so figures against them do not compare across columns; those "
            "against the validation photographs, which are the same in all, do."
        )
        yield "Training was equally many epochs: fewer photographs are fewer steps, and one training is one draw."
        yield "Realism is scored in the features that FID and KID are taken in: of its top a low FID is no surprise."
        for column in columns:
            first, here = columns[0]["photographs"], column["photographs"]
            if gone := [name for i, name in enumerate(self.classes) if first[str(i)] and not here[str(i)]]:
                yield f"{ranking.column_name(column['threshold'])} has no photograph of {', '.join(gone)}."


def _graded(datalist: Datalist) -> tuple[Datalist, list[str]]:
    """Graded items only, with the names of the grades; where nothing is graded all are one class."""
    items = [item for section in SECTIONS for item in datalist[section]]
    if not any("grade" in item for item in items):
        return {**datalist, **{s: [{**item, "grade": 0} for item in datalist[s]] for s in SECTIONS}}, ["all"]
    kept = {section: [item for item in datalist[section] if "grade" in item] for section in SECTIONS}
    return {**datalist, **kept}, list(datalist.get("classes", map(str, range(5))))
