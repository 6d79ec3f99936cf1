"""Samples of a generator ranked by its critic and by realism, and the figures of the best and the worst.

After Kim et al., "Fake Data Generation for Medical Image Augmentation using GANs", section III, where the top 10 and
bottom 10 of 100 samples were chosen by eye.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.metrics import evaluate_features

RANKINGS = ("critic", "realism")
FIGURES = ("fid", "kid")
SMALLEST = 6
ORDERS = 8


@torch.no_grad()
def critic_scores(
    critic: Callable[[Tensor, Tensor | None], Tensor],
    images: ImageSet,
    *,
    conditional: bool,
    device: str = "cpu",
    batch_size: int = 16,
) -> Tensor:
    """Scores `(N,)` of a critic, averaged over several fixed random orders of the images.

    A critic may look at a batch as a whole (the deviation over the batch of Karras et al. 2018), so that its score of
    an image depends on the company. Averaged over orders it is the image's own.

    Args:
        critic: from images in [-1, 1] and grades (or `None`) to `(B,)`; higher is more like a photograph.
        images: what is scored.
        conditional: whether the critic takes grades.
        device: where the critic is.
        batch_size: images that it sees together.
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
    """Rows of all samples, and of the `top` best and worst of each ranking; best and worst first.

    Examples:
        >>> groups_of({"critic": torch.tensor([0.1, 0.9, 0.5])}, top=1)
        {'all': [0, 1, 2], 'top_critic': [1], 'bottom_critic': [0]}
    """
    found = {"all": list(range(len(next(iter(scores.values())))))}
    for name, values in scores.items():
        order = values.argsort(descending=True, stable=True).tolist()
        found |= {f"top_{name}": order[:top], f"bottom_{name}": order[::-1][:top]}
    return found


def figures(
    references: Mapping[str, Tensor],
    samples: Tensor,
    groups: Mapping[str, Sequence[int]],
    extractor: Extractor,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """FID and KID of each group of samples against each set of photographs, with n, extractor, floor and warnings.

    `references` and `samples` are features, `groups` rows of the samples. By reference and group it is
    `{"fid": ..., "kid": ...}`; a reference with fewer than six photographs is skipped.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, real in references.items():
        if len(real) < SMALLEST:
            found[name] = {"skipped": f"{len(real)} photographs: fewer than {SMALLEST}"}
            continue
        found[name] = {}
        for group, rows in groups.items():
            results = evaluate_features(
                real, samples[list(rows)], extractor=extractor.name, extractor_sha256=extractor.sha256, seed=seed
            )
            found[name][group] = {figure: results[figure].as_dict() for figure in FIGURES}
    return found
