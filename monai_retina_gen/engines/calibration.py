"""Calibration of a grader's probabilities by one temperature, from predictions on photographs it was not trained on.

Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """Temperature T that minimises the cross-entropy of `softmax(logits / T)`.

    The cross-entropy is convex in `1 / T`: the minimum is unique and found by bisection of its derivative.

    Args:
        logits: `(n, classes)`, **out of fold**: each row from a network that never saw its photograph. On training
            photographs the temperature would come out too low.
        target: `(n,)` true classes.

    Returns:
        T in [0.05, 20]; above 1 the network was too sure. The accuracy does not change. Put it into
        `FundusGrader.temperature`.

    Raises:
        ValueError: for shapes that do not match, logits that are not finite, or fewer than two photographs.

    Examples:
        >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
        >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 3)  # right in 3 of 4: 2 / T = log 3
        1.82
    """
    if logits.ndim != 2 or target.shape != logits.shape[:1] or len(target) < 2 or not bool(logits.isfinite().all()):
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)}: want finite (n, classes) and (n,), n >= 2"
        )
    scores, target = logits.detach().double().cpu(), target.long().cpu()
    right = scores.gather(1, target[:, None]).mean()
    low, high = 1 / 20, 1 / 0.05
    for _ in range(60):
        middle = (low * high) ** 0.5
        # derivative of the mean cross-entropy with respect to 1 / T: expected minus observed score
        slope = (torch.softmax(middle * scores, 1) * scores).sum(1).mean() - right
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 1 / (low * high) ** 0.5


def expected_calibration_error(logits: Tensor, target: Tensor, temperature: float = 1.0, bins: int = 10) -> float:
    """Mean distance of confidence and accuracy over equally wide bins of confidence, weighted by their photographs.

    Examples:
        >>> expected_calibration_error(torch.zeros(2, 2), torch.tensor([0, 1]))
        0.0
    """
    confidence, predicted = torch.softmax(logits.double() / temperature, 1).max(1)
    right = (predicted == target).double()
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [(confidence[place == b] - right[place == b]).sum().abs() for b in range(bins)]
    return float(torch.stack(gaps).sum() / len(target))
