"""The selection-rate study: one training at each threshold, its samples ranked, pictured and measured.

After Kim et al., "Fake Data Generation for Medical Image Augmentation using GANs", section III and Tables I and II,
where the top 10 and bottom 10 of 100 samples were chosen by eye; here by critic and by realism.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, sampled_images
from monai_retina_gen.evidence.report.html import markdown_table
from monai_retina_gen.evidence.report.pictures import labelled_rows, strip
from monai_retina_gen.generators.content_record import items_sha256
from monai_retina_gen.metrics import evaluate_features, realism_score

from .training import Trained, Trainer

RESULT = "selection_rate"
K, SMALLEST, ORDERS = 3, 6, 8
RANKINGS, FIGURES = ("critic", "realism"), ("fid", "kid")
REFERENCES = {"training": "the photographs trained on", "validation": "the validation photographs"}
Critic = Callable[[Tensor, Tensor | None], Tensor]


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
        if not SMALLEST <= top <= samples // 2:
            raise ValueError(f"top={top} of samples={samples}: {SMALLEST} to half of them are wanted")
        self.datalist, self.classes = _graded(datalist)
        self.filters = [SelectionRateFilter(threshold) for threshold in sorted(set(thresholds))]
        for cut in self.filters:  # before anything is trained
            left = len(cut(self.datalist)["training"])
            if left < SMALLEST:
                rates = [item["selection_rate"] for item in self.datalist["training"]]
                raise DatalistError(
                    f"threshold {cut.threshold:g} leaves {left} training photographs, {SMALLEST} are wanted; "
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
        (self.folder / f"{RESULT}.md").write_text(markdown(result), encoding="utf-8")
        write_sheet(result, self.folder)
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
            "critic": critic_scores(trained.critic, samples, conditional=conditional, device=self.device),
            "realism": realism_score(features["training"], drawn, k=K),
        }
        groups = groups_of(scores, self.top)
        for name, rows in groups.items():
            if name != "all":
                write_image(folder / f"{name}.png", strip(samples.select(rows)))
        return {
            "n_validation": len(features["validation"]),
            "n_samples": len(samples),
            "figures": figures(features, drawn, groups, self.extractor),
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
                yield f"{column_name(column['threshold'])} has no photograph of {', '.join(gone)}."


def _graded(datalist: Datalist) -> tuple[Datalist, list[str]]:
    """Graded items only, with the names of the grades; where nothing is graded all are one class."""
    items = [item for section in SECTIONS for item in datalist[section]]
    if not any("grade" in item for item in items):
        return {**datalist, **{s: [{**item, "grade": 0} for item in datalist[s]] for s in SECTIONS}}, ["all"]
    kept = {section: [item for item in datalist[section] if "grade" in item] for section in SECTIONS}
    return {**datalist, **kept}, list(datalist.get("classes", map(str, range(5))))


@torch.no_grad()
def critic_scores(
    critic: Critic, images: ImageSet, *, conditional: bool, device: str = "cpu", batch_size: int = 16
) -> Tensor:
    """Scores `(N,)` of a critic of images in [-1, 1] and grades, averaged over several fixed random orders.

    A critic may look at a batch as a whole (the deviation over the batch of Karras et al. 2018), so that its score of
    an image depends on the company. Averaged over orders it is the image's own.
    """
    grades, total = torch.tensor(images.grades), torch.zeros(len(images), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for _ in range(ORDERS):
        for rows in torch.randperm(len(images), generator=generator).split(batch_size):
            grade = grades[rows].to(device) if conditional else None
            seen = images.floats(rows.tolist()).to(device) * 2 - 1
            total[rows] += critic(seen, grade).double().cpu()
    return total / ORDERS


def groups_of(scores: Mapping[str, Tensor], top: int) -> dict[str, list[int]]:
    """Rows of all samples, and of the `top` best and worst of each ranking; best and worst first."""
    found = {"all": list(range(len(next(iter(scores.values())))))}
    for name, values in scores.items():
        order = values.argsort(descending=True, stable=True).tolist()
        found |= {f"top_{name}": order[:top], f"bottom_{name}": order[::-1][:top]}
    return found


def figures(
    references: Mapping[str, Tensor], samples: Tensor, groups: Mapping[str, Sequence[int]], extractor: Extractor
) -> dict[str, dict[str, Any]]:
    """FID and KID of each group (rows of `samples`) against each reference, both features, with floor and warnings."""
    found: dict[str, dict[str, Any]] = {}
    for name, real in references.items():
        if len(real) < SMALLEST:
            found[name] = {"skipped": f"{len(real)} photographs: fewer than {SMALLEST}"}
            continue
        whose: dict[str, Any] = {"extractor": extractor.name, "extractor_sha256": extractor.sha256}
        found[name] = {}
        for group, rows in groups.items():
            results = evaluate_features(real, samples[list(rows)], **whose)
            found[name][group] = {figure: results[figure].as_dict() for figure in FIGURES}
    return found


def column_name(threshold: float) -> str:
    """Heading of a threshold, as in the paper's tables.

    Examples:
        >>> column_name(0), column_name(0.6)
        ('All (SR 0)', 'SR 60')
    """
    return "All (SR 0)" if threshold == 0 else f"SR {100 * threshold:g}"


def markdown(result: Mapping[str, Any]) -> str:
    """Tables of counts, FID and KID, with the warnings."""
    columns, extractor, classes = result["columns"], result["extractor"], enumerate(result["classes"])
    names = [column_name(column["threshold"]) for column in columns]
    counts = [[name, *(str(c["photographs"].get(str(number), 0)) for c in columns)] for number, name in classes]
    counts.append(["all", *(str(column["n_training"]) for column in columns)])
    parts = [f"# Selection rate: {result['trainer']['bundle']}", "## Photographs trained on"]
    parts.append(markdown_table(["class", *names], counts))
    for reference, words in REFERENCES.items():
        for figure in FIGURES:
            found = [column["figures"][reference] for column in columns]
            rows = [
                [label, *(_cell(each, group, figure) for each in found)]
                for group, label in _groups(columns[0]["top"]).items()
            ]
            rows.append(["floor: half against half", *(_floor(each, figure) for each in found)])
            note = "In brackets: ratio to the floor at equal n." if figure == "fid" else "Unbiased: 0 is no difference."
            parts += [f"## {figure.upper()} against {words}", note, markdown_table(["samples", *names], rows)]
    parts.append(f"Features of `{extractor['name']}` ({extractor['dimension']} numbers, {extractor['sha256'][:12]}).")
    parts.append("\n".join(f"- {warning}" for warning in result["warnings"]))
    return "\n\n".join(parts) + "\n"


def _groups(top: int) -> dict[str, str]:
    sides = [(side, ranking) for ranking in RANKINGS for side in ("top", "bottom")]
    return {"all": "All"} | {f"{side}_{by}": f"{side.capitalize()} {top} by {by}" for side, by in sides}


def _cell(found: Mapping[str, Any], group: str, name: str) -> str:
    if group not in found:
        return "-"
    ratio = found[group][name]["ratio_to_floor"]
    return f"{found[group][name]['value']:.4g}" + ("" if ratio is None else f" ({ratio:.2f})")


def _floor(found: Mapping[str, Any], name: str) -> str:
    figure = found.get("all", {}).get(name, {"floor": None})
    return "-" if figure["floor"] is None else f"{figure['floor']:.4g} (n = {figure['floor_n']})"


def write_sheet(result: Mapping[str, Any], folder: Path) -> None:
    """Write `sheet.png`: for every threshold the best and the worst by both rankings, one row each."""
    rows = []
    for column in result["columns"]:
        for group, label in _groups(column["top"]).items():
            if group != "all":
                strip = read_image(folder / column["folder"] / f"{group}.png")
                images = strip.unflatten(2, (column["top"], -1)).permute(2, 0, 1, 3)
                rows.append((f"{column_name(column['threshold'])}\n{label}", images))
    write_image(folder / "sheet.png", labelled_rows(rows, columns=max(c["top"] for c in result["columns"])))
