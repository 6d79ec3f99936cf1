"""How far a generator's samples are from photographs that it has not seen, and how diverse they are.

Each figure stands beside its real-against-real floor, with n, extractor and warnings. None of them says whether the
images help a grader: that is what `study` is for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_retina_gen.data import Item, count_grades, write_image, write_json
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.engines.distributed import by_first
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.evidence.report.pictures import grade_rows, strip
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.metrics import evaluate_features, realism_score
from monai_retina_gen.weights import CHECKPOINT, find_bundle, read_metadata, sha256_file

from .extractor import DEFAULT_EXTRACTOR, Extractor, load_extractor
from .image_figures import diversity_figures, sliced_wasserstein_figure
from .image_sets import ImageSet, photographs, sampled_images

METRICS_FILE, SMALLEST, STRIP = "metrics.json", 6, 8


def evaluate(
    generator: str | RetinaGenerator, items: Sequence[Item], out: str | os.PathLike[str], **options: Any
) -> dict[str, Any]:
    """Compare a generator's samples with photographs: `GeneratorEvaluation(...).run()`; `options` are its arguments.

    Examples:
        >>> evaluate("retina_vae", [], "out")
        Traceback (most recent call last):
        ...
        ValueError: items holds 0 graded photographs and count is 0: an evaluation needs at least 6 of each
    """
    return GeneratorEvaluation(generator=generator, items=items, output_dir=out, **options).run()


class GeneratorEvaluation:
    """Evaluation of a generator against photographs; for a bundle's `evaluate.json` and for Python.

    Args:
        generator: a bundle's name or folder, or a generator that samples.
        items: graded datalist items that the generator has not been trained on.
        extractor: see `load_extractor`.
        output_dir: folder for `metrics.json` and the pictures that it names.
        per_grade: also of each grade that has six photographs and six samples.
        count: number of samples, with the grade frequencies of `items`; as many as photographs by default.
        seed: base of the samples' seeds, and of all splits and permutations.
        pairs: random pairs of each grade for the diversity figures.
        lpips: LPIPS diversity too; torchvision may download AlexNet's weights, and a failure is a line in the result.
        batch_size: images per forward pass.
        split: name of the photographs in the result; choose on validation, report the test photographs.
        sample_options: options of the generator's `sample`, such as `{"curated": False}`.
        device: where generator and extractor run.

    Raises:
        ValueError: with fewer than six photographs or samples.
    """

    def __init__(
        self,
        *,
        generator: str | RetinaGenerator,
        items: Sequence[Item],
        extractor: str | Extractor = DEFAULT_EXTRACTOR,
        output_dir: str | os.PathLike[str],
        per_grade: bool = False,
        count: int | None = None,
        seed: int = 0,
        pairs: int = 200,
        lpips: bool = False,
        batch_size: int = 16,
        split: str = "",
        sample_options: dict[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.sample_options = dict(sample_options or {})
        self.items = [item for item in items if "grade" in item]
        self.count = len(self.items) if count is None else count
        if min(len(self.items), self.count) < SMALLEST:
            raise ValueError(
                f"items holds {len(self.items)} graded photographs and count is {self.count}: an evaluation needs at "
                f"least {SMALLEST} of each"
            )
        self.generator = load_generator(generator, device=device)
        self.extractor = load_extractor(extractor, device=device)
        self.folder, self.per_grade, self.seed, self.pairs = Path(output_dir), per_grade, seed, pairs
        self.lpips, self.batch_size, self.split = lpips, batch_size, split

    def run(self) -> dict[str, Any]:
        """Generate, compare, write `metrics.json`; returns its content."""
        real = photographs(self.items, self.generator.image_size)
        rounds, rest = divmod(self.count, len(real))  # whole rounds of all grades, the rest evenly spread
        grades = sorted([*real.grades * rounds, *(real.grades[i] for i in spread(len(real), rest))])
        generated = self._generated(grades)
        features = [images.features(self.extractor) for images in (real, generated)]
        return by_first(lambda: self._compared(real, generated, features))

    def _compared(self, real: ImageSet, generated: ImageSet, features: Sequence[Tensor]) -> dict[str, Any]:
        identity = ("name", "version", "weights_sha256", "image_size")
        result: dict[str, Any] = {
            "kind": "evaluation",
            "generator": {name: getattr(self.generator, name) for name in identity},
            "extractor": self.extractor.as_dict(),
            "data": {"split": self.split} | _data(real, generated),
            "settings": {"seed": self.seed, "pairs_per_grade": self.pairs, "sample_options": self.sample_options},
            "metrics": self._feature_metrics(*features),
            "per_grade": self._per_grade(real, generated, *features) if self.per_grade else {},
            "sliced_wasserstein": sliced_wasserstein_figure(real, generated, seed=self.seed),
            "diversity": diversity_figures(real, generated, pairs=self.pairs, seed=self.seed, lpips=self.lpips),
        }
        scores = realism_score(*features).tolist()
        order = sorted(range(len(scores)), key=scores.__getitem__)
        result["realism"] = _realism(scores, order, generated)
        result["pictures"] = self._pictures(real, generated, order)
        result |= self._further(real, generated)
        write_json(result, self.folder / METRICS_FILE)
        return result

    def _generated(self, grades: Sequence[int]) -> ImageSet:
        return sampled_images(self.generator, grades, seed=self.seed, batch_size=self.batch_size, **self.sample_options)

    def _further(self, real: ImageSet, generated: ImageSet) -> dict[str, Any]:
        """What a kind of generator adds to the result."""
        return {}

    def _feature_metrics(self, real: Any, generated: Any) -> dict[str, Any]:
        results = evaluate_features(
            real, generated, extractor=self.extractor.name, extractor_sha256=self.extractor.sha256, seed=self.seed
        )
        return {name: result.as_dict() for name, result in results.items()}

    def _per_grade(self, real: ImageSet, generated: ImageSet, fr: Any, fg: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for grade in sorted(set(real.grades)):
            rows = [[i for i, g in enumerate(images.grades) if g == grade] for images in (real, generated)]
            if min(map(len, rows)) < SMALLEST:
                counts = f"{len(rows[0])} real and {len(rows[1])} generated"
                found[str(grade)] = {"skipped": f"{counts}: fewer than {SMALLEST}"}
            else:
                swd = sliced_wasserstein_figure(real.select(rows[0]), generated.select(rows[1]), seed=self.seed)
                found[str(grade)] = {**self._feature_metrics(fr[rows[0]], fg[rows[1]]), "swd": swd}
        return found

    def _pictures(self, real: ImageSet, generated: ImageSet, order: Sequence[int]) -> dict[str, str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        pictures = {
            "grades": grade_rows(real, generated),
            "best": strip(generated.select(order[::-1][:STRIP])),
            "worst": strip(generated.select(order[:STRIP])),
        }
        for name, picture in pictures.items():
            write_image(self.folder / f"{name}.png", picture)
        return {name: f"{name}.png" for name in pictures}


def _data(real: ImageSet, generated: ImageSet) -> dict[str, Any]:
    return {
        "n_real": len(real),
        "n_generated": len(generated),
        **{
            f"{name}_grades": {str(g): n for g, n in count_grades([{"grade": g} for g in images.grades]).items()}
            for name, images in (("real", real), ("generated", generated))
        },
        "image_size": real.size,
        "preparation": "cropped to the field of view, bilinear antialiased resize, 8 bits per channel",
    }


def _realism(scores: Sequence[float], order: Sequence[int], generated: ImageSet) -> dict[str, Any]:
    finite = [s if math.isfinite(s) else None for s in scores]
    return {
        "n": len(scores),
        "median": finite[order[len(order) // 2]],
        "share_at_least_1": sum(s >= 1 for s in scores) / len(scores),
        "best": [{"name": generated.names[i], "score": finite[i]} for i in order[::-1][:STRIP]],
        "worst": [{"name": generated.names[i], "score": finite[i]} for i in order[:STRIP]],
    }


def headline(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation that metadata and model card quote, flat as `eval_metrics` in MONAI's zoo.

    `<name>` compares `n` samples with `n` photographs and `<name>_floor` as many photographs with others, since most
    figures change with n. Too few photographs to halve have no floor, and `n` is all of them.
    """
    metrics = {**result["metrics"], "swd": result["sliced_wasserstein"]}
    floor_n = result["metrics"]["kid"]["floor_n"]
    figures: dict[str, Any] = {}
    for name, metric in metrics.items():
        figures[name] = metric["value_at_floor_n" if floor_n else "value"]
        figures |= {f"{name}_floor": metric["floor"]} if floor_n else {}
    figures["kid_p_value"] = result["metrics"]["kid"]["p_value"]
    diversity = result["diversity"]["ms_ssim"]  # without figures where images are too small for it
    kinds = (("ms_ssim", "generated"), ("ms_ssim_floor", "real"))
    figures |= {name: diversity[kind]["mean"] for name, kind in kinds if kind in diversity}
    figures["realism_median"] = result["realism"]["median"]
    figures = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    return {
        "split": result["data"]["split"],
        "n": floor_n or min(result["data"]["n_real"], result["data"]["n_generated"]),
        **figures,
        "n_photographs": result["data"]["n_real"],
        "n_generated": result["data"]["n_generated"],
        "extractor": result["extractor"]["name"],
        "extractor_sha256": result["extractor"]["sha256"],
        "extractor_dimension": result["extractor"]["dimension"],
        "weights_sha256": result["generator"]["weights_sha256"],
        "warnings": "; ".join(sorted({w for metric in result["metrics"].values() for w in metric["warnings"]})),
    }


def write_eval_metrics(result: dict[str, Any], bundle: str | os.PathLike[str]) -> Path:
    """Write the headline figures into a bundle's metadata; a `WeightsError` if other weights were evaluated."""
    folder = find_bundle(bundle)
    found, evaluated = sha256_file(folder / CHECKPOINT), result["generator"]["weights_sha256"]
    if found != evaluated:
        other = f"not {evaluated[:12] or 'those'}, which were evaluated"
        raise WeightsError(f"{folder} has weights {found[:12]}, {other}: evaluate this bundle")
    path = folder / "configs" / "metadata.json"
    write_json({**read_metadata(folder), "eval_metrics": headline(result)}, path, sort_keys=False)
    return path
