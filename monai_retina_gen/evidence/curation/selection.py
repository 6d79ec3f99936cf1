"""Which candidates of a curation are kept and why, and the photographs that they are measured against."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.evidence.curation.candidates import CandidatePool
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.metrics import nearest_distance, realism_score
from monai_retina_gen.weights import load_state, save_state

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

    The order is not by realism: the score is highest in the middle of dense groups of photographs, so that the best
    of many candidates are the most typical and the most alike. In the order of seeds the kept images are a fair draw of
    all that pass, and more candidates add to them without exchanging any.

    Realism, whether it is a copy, and the graders' probabilities `(N, grades)` are of each candidate, as the grade that
    was asked for, `None` where the generator takes none.

    Examples:
        >>> sure = torch.eye(5)[[2, 2, 2, 3]]
        >>> select(torch.tensor([1.2, 0.3, 1.1, 1.5]), [False] * 4, sure, None,
        ...        per_grade=1, min_realism=1.0, confidence=0.5).reasons
        ['', 'unrealistic', 'grade full', '']
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
        seen = [pool.probabilities(real.floats(rows), real.groups[rows]) for rows in slices]
        save_state({"features": real.features(pool.extractor), "grades": torch.cat(seen).float()}, path)
    state = load_state(path)
    return Reference(real.grades, sha256, state["features"], state["grades"], k)
