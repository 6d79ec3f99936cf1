"""Evaluation of a mask-to-photograph generator: the figures of `evaluate`, and whether it draws what was asked for.

Does a segmenter of photographs find the lesions that the masks ask for, and does a grader of photographs see their
grade ("Te-Fake" of Zhou et al., Table III)? The same figures of the photographs themselves stand beside each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.transforms import Compose
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import CONDITION_KEYS, Item, icdr_grade
from monai_retina_gen.data.names import STRUCTURES
from monai_retina_gen.engines import load_segmenter
from monai_retina_gen.metrics import bootstrap_interval
from monai_retina_gen.metrics.mask_curve import average_precision, best_threshold, curve_counts
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd, StackConditionMapd

from .generator_evaluation import GeneratorEvaluation
from .image_sets import ImageSet, to_bytes
from .label_agreement import FIGURES, load_grader


class SynthesisEvaluation(GeneratorEvaluation):
    """Evaluation of a generator that synthesizes, on the masks and grades of photographs that it has not seen.

    Args:
        generator: see `GeneratorEvaluation`, as all that is not named here; it must synthesize.
        items: graded datalist items with masks.
        segmenter: bundle of the segmenter that judges the lesions; `None` leaves it out.
        segmenter_size: side in pixels of the images that it sees; 0 is that of its training.
        graders: names of graders for `load_grader`; empty leaves them out.
        options: of `GeneratorEvaluation`.
    """

    def __init__(
        self,
        *,
        generator: Any,
        items: Sequence[Item],
        segmenter: str | None = "retina_lesion_segmentation",
        segmenter_size: int = 0,
        graders: Sequence[str] = ("retina_grader:cross_fitted",),
        **options: Any,
    ) -> None:
        super().__init__(generator=generator, items=items, **options)
        self.generator.check_mode("synthesize")
        self.segmenter, self.segmenter_size = segmenter, segmenter_size
        self.graders, self.device = tuple(graders), str(options.get("device", "cpu"))
        self.conditions, self.missing = condition_maps(self.items, self.generator.image_size)
        self.rows = [i % len(self.items) for i in range(self.count)]

    def _generated(self, grades: Sequence[int]) -> ImageSet:
        rows, asked = self.rows, [icdr_grade(self.items[row]) for row in self.rows]
        parts = []
        for start in tqdm(range(0, self.count, self.batch_size), desc="synthesize", unit="batch", leave=False):
            few = slice(start, start + self.batch_size)
            maps = self.conditions[rows[few]].float() / 255
            seeds = list(range(self.seed + start, self.seed + start + len(maps)))
            # Masks as they were predicted: what the scale excludes is a segmenter's error here, not a request.
            made: Tensor = self.generator.images(maps, torch.tensor(asked[few]), seeds)  # type: ignore[attr-defined]
            parts.append(to_bytes(made))
        names = [f"masks of {self.items[row]['image']}, seed {self.seed + i}" for i, row in enumerate(rows)]
        return ImageSet(torch.cat(parts), asked, names, [""] * len(rows))

    def _further(self, real: ImageSet, generated: ImageSet) -> dict[str, Any]:
        found: dict[str, Any] = {"missing_masks": self.missing}
        if self.segmenter is not None:
            segmenter = load_segmenter(self.segmenter, device=self.device, flips=False)
            side = self.segmenter_size or segmenter.image_size
            conditions = self.conditions.float() / 255
            found["mask_agreement"] = {
                "segmenter": segmenter.name,
                "segmenter_size": side,
                "generated": mask_agreement(generated, conditions[self.rows], segmenter, side),
                "real": mask_agreement(real, conditions, segmenter, side),
            }
        if self.graders:
            found["grader_accuracy"] = [self._graded(name, real, generated) for name in self.graders]
        return found

    def _graded(self, name: str, real: ImageSet, generated: ImageSet) -> dict[str, Any]:
        grader = load_grader(name, self.device)
        result: dict[str, Any] = grader.as_dict()
        for which, images in (("generated", generated), ("real", real)):
            preds, target = grader.grades(images), torch.tensor(images.grades)
            result[which] = {
                figure: bootstrap_interval(preds, target, statistic, seed=self.seed).as_dict()
                for figure, statistic in FIGURES.items()
            }
        return result


def condition_maps(items: Sequence[Item], size: int) -> tuple[Tensor, list[str]]:
    """Condition maps `(N, 9, size, size)` uint8 of items with masks, cropped with their photographs; masks none has."""
    loading: dict[str, Any] = {"keys": "image", "mask_keys": CONDITION_KEYS, "allow_missing_keys": True}
    load = Compose([LoadFundusd(**loading), CropToFieldOfViewd(size=size, **loading), StackConditionMapd()])
    stacked: list[Any] = [load(item) for item in tqdm(items, desc="masks", leave=False)]
    absent = [set(item["missing"].split(",")) for item in stacked]
    return torch.stack([item["condition"] for item in stacked]), sorted(set.intersection(*absent) - {""})


def mask_agreement(images: ImageSet, conditions: Tensor, segmenter: Any, side: int) -> dict[str, dict[str, float]]:
    """What a `FundusSegmenter` finds at `side` pixels beside masks `(N, 9, H, W)` in [0, 1], over all pixels.

    By structure `pr_auc`, `dice` at the best threshold, chosen on these very images, and `share`, the part of all
    pixels that was asked for: the `pr_auc` of chance.
    """
    names = [name for name in STRUCTURES if name in segmenter.structures]
    counts = {name: torch.zeros(1) for name in names}
    for start in range(0, len(images), 4):
        found = segmenter.probabilities(resized(images.floats(slice(start, start + 4)), side).clamp(0, 1))
        for name in names:
            wanted = conditions[start : start + 4, CONDITION_KEYS.index(name)]
            preds = resized(found[name], wanted.shape[-1]).clamp(0, 1)[:, 0]
            counts[name] = counts[name] + curve_counts(preds, wanted)
    asked = {name: c for name, c in counts.items() if c.ndim == 2 and c[1].sum() > 0}
    dice = {name: best_threshold(c)[1] for name, c in asked.items()}
    return {
        name: {"pr_auc": float(average_precision(c)), "dice": dice[name], "share": float(c[1].sum() / c.sum())}
        for name, c in asked.items()
    }
