"""The photographs that a curation is measured against: their features, and how they themselves would fare."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.evidence.curation.candidates import CandidatePool
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.metrics import nearest_distance, realism_score
from monai_retina_gen.weights import load_state, save_state

__all__ = ["Reference", "score_photographs"]


@dataclass(frozen=True)
class Reference:
    """Scored photographs.

    Args:
        grades: their labels.
        sha256: hash of their pixels as they were read.
        features: `(n, d)`.
        probabilities: `(n, grades)`, of the graders.
        k: neighbour that sets the radius of the realism score.
    """

    grades: list[int]
    sha256: str
    features: Tensor
    probabilities: Tensor
    k: int

    def realism(self, features: Tensor) -> Tensor:
        """Realism scores `(m,)` of candidates."""
        return realism_score(self.features, features, k=self.k)

    def copies(self, features: Tensor) -> list[bool]:
        """Candidates that coincide with a photograph.

        Their realism is infinite only where the photograph is not of the half that the score leaves out.
        """
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
        seen = [pool.graders.probabilities(real.floats(rows), real.groups[rows]) for rows in slices]
        save_state({"features": real.features(pool.extractor), "grades": torch.cat(seen).float()}, path)
    state = load_state(path)
    return Reference(real.grades, sha256, state["features"], state["grades"], k)
