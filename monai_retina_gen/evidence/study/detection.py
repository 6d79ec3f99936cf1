"""How well generated images are told from photographs within each grade, by their texture and colour alone.

Near 0.5 a linear look at texture cannot tell them; a network may. Near 1, a grader can learn "generated", and with it
the grades that are generated most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from monai_retina_gen.data import split_by_group
from monai_retina_gen.evidence.evaluation.image_sets import to_bytes
from monai_retina_gen.metrics import laplacian_pyramid

from .alternative_images import Bank
from .alternatives import CHUNK, match_texture
from .arms import Condition
from .config import StudyConfig
from .material import GeneratedImages
from .photographs import Photographs

RIDGE = 1e-2  # weight of the squared coefficients beside the mean loss


def texture_features(images: Tensor) -> Tensor:
    """Log energy of four levels of the Laplacian pyramid, mean and deviation of every channel: `(N, 18)`."""
    found = []
    for part in images.split(CHUNK):
        floats = part.float() / 255
        levels = laplacian_pyramid(floats, 5)[:-1]
        energies = [level.square().mean((2, 3)).clamp(min=1e-12).log() for level in levels]
        found.append(torch.cat([*energies, floats.mean((2, 3)), floats.std((2, 3))], dim=1))
    return torch.cat(found)


def detect_generated(photographs: Photographs, bank: Bank, config: StudyConfig) -> dict[str, Any]:
    """Held-out area under the ROC curve of a logistic regression on texture features, photographs against generated.

    `texture_matched` is that of texture-matched photographs, which shows how well that control controls.
    """
    matched, sigma = match_texture(photographs, bank.images, bank.grades)
    result: dict[str, Any] = {"blur_sigma_px": round(sigma, 3), "texture_matched": None, "by_grade": {}, "all": None}
    if bank.images.shape[-1] == config.image_size:
        groups = [f"photograph {group}" for group in photographs.groups]
        groups += [f"generated {number}" for number in range(len(bank.images))]
        made, grades = texture_features(bank.images), [photographs.grades, bank.grades]
        result |= _aucs(texture_features(photographs.images), made, grades, groups)
        result["texture_matched"] = _aucs(texture_features(to_bytes(matched)), made, grades, groups)["all"]
    return {**result, "words": _words(result)}


def detect_paintings(
    generated: GeneratedImages, conditions: Sequence[Condition], features: Callable[[Tensor], Tensor] = texture_features
) -> dict[str, Any]:
    """The same of painted photographs, by arm and generator, with `features` `(N, d)` of `(N, 3, S, S)` uint8 images.

    A painted photograph and the one that it was painted on are in the same half, so that no eye is recognised.
    """
    real, arms = generated.photographs, ("edit", "canvas")
    wanted = {(arm, c.generator) for c in conditions for arm in arms if c.arm in (arm, "edit-canvas")}
    result: dict[str, Any] = {}
    for arm, name in sorted(wanted):
        made = generated.alternatives(Condition(arm, name, 1.0))
        if made is not None and made.sources:
            rows = [row for row, grade in enumerate(real.grades) if grade in made.grades]
            groups = [real.groups[row] for row in (*rows, *made.sources)]
            grades = [[real.grades[row] for row in rows], made.grades]
            aucs = _aucs(features(real.images[rows]), features(made.images), grades, groups)
            result[f"{arm}--{name}"] = {"n": len(made.images), **aucs}
    return result


def _aucs(real: Tensor, made: Tensor, grades: Sequence[list[int]], groups: list[str]) -> dict[str, Any]:
    """AUC by grade that was made, and of all, of features of photographs and of images that were made."""
    truth, each = torch.tensor([0.0] * len(real) + [1.0] * len(made)), torch.tensor([*grades[0], *grades[1]])
    scores = cross_fitted_scores(torch.cat([real, made]), truth, each, groups)
    by_grade = {g: auc(scores[each == g], truth[each == g]) for g in sorted(set(grades[1]))}
    return {"by_grade": by_grade, "all": auc(scores, truth)}


def cross_fitted_scores(features: Tensor, truth: Tensor, grades: Tensor, groups: list[str]) -> Tensor:
    """Logits of a logistic regression, `(N,)`, each from the half of the groups that the image is not in.

    Both kinds (`truth` is 1 for generated) count the same within a grade. NaN where a half has one kind alone.
    """
    items = [
        {"row": i, "group": group, "grade": f"{grade}-{real}"}
        for i, (group, grade, real) in enumerate(zip(groups, grades.tolist(), truth.tolist(), strict=True))
    ]
    parts = split_by_group(items, (0.5, 0.0, 0.5))
    halves = [torch.tensor([item["row"] for item in parts[name]]) for name in ("training", "test")]
    cells = grades * 2 + truth.long()
    weights = 1 / torch.bincount(cells)[cells].float()
    scores = torch.zeros(len(features))
    for fitted, judged in (halves, halves[::-1]):
        if truth[fitted].min() == truth[fitted].max():  # too few to have both kinds in each half
            return scores.fill_(torch.nan)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5 / RIDGE, max_iter=1000))
        shares = (weights[fitted] / weights[fitted].sum()).numpy()
        model.fit(features[fitted].numpy(), truth[fitted].numpy(), logisticregression__sample_weight=shares)
        scores[judged] = torch.from_numpy(model.decision_function(features[judged].numpy())).float()
    return scores


def auc(scores: Tensor, truth: Tensor) -> float | None:
    """Area under the ROC curve; None where only one kind is there, or there are no scores."""
    if truth.min() == truth.max() or scores.isnan().any():
        return None
    return round(float(roc_auc_score(truth, scores)), 4)


def _words(result: dict[str, Any]) -> str:
    if result["all"] is None:
        return "not compared with photographs: the generator's images are smaller than the study's"
    by_grade = ", ".join(f"grade {g} {value:.2f}" for g, value in result["by_grade"].items() if value is not None)
    matched = result["texture_matched"]
    return (
        f"generated images are told from photographs by texture alone with AUC {result['all']:.2f} ({by_grade}; 0.5 is "
        f"chance); from texture-matched photographs (Gaussian of {result['blur_sigma_px']} px) with AUC {matched:.2f}"
    )
