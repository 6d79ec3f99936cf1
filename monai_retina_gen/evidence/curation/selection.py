"""Which candidates of a curation are kept, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["REASONS", "Selection", "select"]

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
    """Outcome of a curation.

    Args:
        grades: the graders' grade of each candidate.
        reasons: why each is refused, a key of `REASONS`; `""` for one that is kept.
    """

    grades: list[int]
    reasons: list[str]

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

    Args:
        realism: `(N,)` scores.
        copies: whether each candidate coincides with a photograph.
        probabilities: `(N, grades)`, of the graders.
        asked: grade that each was asked for; `None` where the generator takes none.
        per_grade: images that are kept of each grade at most.
        min_realism: smallest realism score.
        confidence: smallest probability of the graders' grade.

    Examples:
        >>> import torch
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
