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
from monai_retina_gen.engines.sharing import by_first
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, Extractor, load_extractor
from monai_retina_gen.evidence.evaluation.image_figures import diversity_figures, sliced_wasserstein_figure
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, photographs, sampled_images
from monai_retina_gen.evidence.report.pictures import grade_rows, strip
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.metrics import evaluate_features, realism_score

__all__ = ["GeneratorEvaluation", "evaluate"]

METRICS_FILE = "metrics.json"
SMALLEST = 6
STRIP = 8


def evaluate(
    generator: str | RetinaGenerator, items: Sequence[Item], out: str | os.PathLike[str], **options: Any
) -> dict[str, Any]:
    """Compare a generator's samples with photographs: realism, diversity and their floors.

    Args:
        generator: a bundle's name or folder, or a generator that samples.
        items: graded datalist items that the generator has not been trained on.
        out: folder for `metrics.json` and the pictures that it names; made where absent.
        options: further arguments of `GeneratorEvaluation`.

    Returns:
        What `metrics.json` holds.

    Raises:
        ValueError: with fewer than six photographs or samples.

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
        output_dir: folder for `metrics.json` and the pictures that it names; made where absent.
        per_grade: feature metrics and SWD of each grade as well, where it has six photographs and six samples.
        count: number of samples, with the grade frequencies of `items`; as many as photographs by default.
        seed: base of the samples' seeds, and of all splits and permutations.
        pairs: random pairs of each grade for the diversity figures.
        lpips: LPIPS diversity too: torchvision then downloads AlexNet's weights unless they are in torch's cache. A
            failure is a line in the result.
        batch_size: images per forward pass.
        split: name of the photographs in the result, such as "test"; choose on validation, report the test photographs.
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
        grades = sorted(real.grades[i % len(real)] for i in _cycled(len(real), self.count))
        generated = self._generated(grades)
        features = [images.features(self.extractor) for images in (real, generated)]
        return by_first(lambda: self._compared(real, generated, features))

    def _compared(self, real: ImageSet, generated: ImageSet, features: Sequence[Tensor]) -> dict[str, Any]:
        result = {
            "kind": "evaluation",
            "generator": _identity(self.generator),
            "extractor": self.extractor.as_dict(),
            "data": {"split": self.split} | _data(real, generated),
            "settings": {"seed": self.seed, "pairs_per_grade": self.pairs, "sample_options": self.sample_options},
            "metrics": self._feature_metrics(*features),
            "per_grade": self._per_grade(real, generated, *features) if self.per_grade else {},
            "sliced_wasserstein": sliced_wasserstein_figure(real, generated, seed=self.seed),
            "diversity": diversity_figures(real, generated, pairs=self.pairs, seed=self.seed, lpips=self.lpips),
        }
        scores = realism_score(*features).tolist()
        result["realism"] = _realism(scores, generated)
        result["pictures"] = self._pictures(real, generated, scores)
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

    def _pictures(self, real: ImageSet, generated: ImageSet, scores: Sequence[float]) -> dict[str, str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        order = sorted(range(len(scores)), key=lambda i: scores[i])
        pictures = {
            "grades": grade_rows(real, generated),
            "best": strip(generated.select(order[::-1][:STRIP])),
            "worst": strip(generated.select(order[:STRIP])),
        }
        for name, picture in pictures.items():
            write_image(self.folder / f"{name}.png", picture)
        return {name: f"{name}.png" for name in pictures}


def _cycled(photograph_count: int, count: int) -> list[int]:
    """Rows whose grades the samples take: whole rounds of all photographs, the rest evenly spread."""
    rounds, rest = divmod(count, photograph_count)
    return list(range(photograph_count)) * rounds + (spread(photograph_count, rest) if rest else [])


def _identity(generator: RetinaGenerator) -> dict[str, Any]:
    return {
        "name": generator.name,
        "version": generator.version,
        "weights_sha256": generator.weights_sha256,
        "image_size": generator.image_size,
    }


def _data(real: ImageSet, generated: ImageSet) -> dict[str, Any]:
    return {
        "n_real": len(real),
        "n_generated": len(generated),
        "real_grades": {str(g): n for g, n in count_grades([{"grade": g} for g in real.grades]).items()},
        "generated_grades": {str(g): n for g, n in count_grades([{"grade": g} for g in generated.grades]).items()},
        "image_size": real.size,
        "preparation": "cropped to the field of view, bilinear antialiased resize, 8 bits per channel",
    }


def _realism(scores: Sequence[float], generated: ImageSet) -> dict[str, Any]:
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    finite = [s if math.isfinite(s) else None for s in scores]
    return {
        "n": len(scores),
        "median": finite[order[len(order) // 2]],
        "share_at_least_1": sum(s >= 1 for s in scores) / len(scores),
        "best": [{"name": generated.names[i], "score": finite[i]} for i in order[::-1][:STRIP]],
        "worst": [{"name": generated.names[i], "score": finite[i]} for i in order[:STRIP]],
    }
