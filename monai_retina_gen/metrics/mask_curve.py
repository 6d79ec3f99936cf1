"""Precision-recall curve of masks over all pixels of a data set: its area, and the threshold of the best F1.

The area is the average precision `sum over n of (R_n - R_{n-1}) P_n`, as in the IDRiD challenge (Porwal et al. 2020,
doi:10.1016/j.media.2019.101561) over the pixels of all photographs together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor

from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.metrics.base import FundusMetric, OutputTransform

BINS = 8192
LIMIT = 16.0  # logits beyond +-16 are probabilities of 1e-7, which float32 hardly tells from 0 and 1


def curve_counts(probabilities: Tensor, target: Tensor) -> Tensor:
    """Pixels outside (row 0) and inside (row 1) a structure by predicted probability, `(2, BINS)` int64, low to high.

    Bins are equally wide in the logit, so that small probabilities keep their order. Masks are inside from 0.5;
    negative values are not annotated and not counted.
    """
    annotated = target >= 0
    logit = torch.logit(probabilities[annotated].float(), eps=1e-7).clamp(-LIMIT, LIMIT)
    bins = ((logit + LIMIT) * ((BINS - 1) / (2 * LIMIT))).round().long()
    inside = target[annotated] >= 0.5
    return torch.bincount(bins + BINS * inside, minlength=2 * BINS).view(2, BINS)


def average_precision(counts: Tensor) -> Tensor:
    """Area under the precision-recall curve of each of `curve_counts`, `(..., 2, BINS)` to `(...)` float64.

    Sums of counts are those of all their pixels. NaN where the structure never occurs.
    """
    alarms, hits = counts.double().flip(-1).cumsum(-1).unbind(-2)
    precision = hits / (hits + alarms).clamp(min=1)
    recall = hits / hits[..., -1:].clamp(min=1)
    steps = torch.diff(recall, prepend=recall.new_zeros(*recall.shape[:-1], 1))
    return torch.where(hits[..., -1] > 0, (steps * precision).sum(-1), torch.nan)


def best_threshold(counts: Tensor) -> tuple[float, float]:
    """Probability from which on a pixel counts as inside for the best F1 (Dice over all pixels), and that F1.

    Choose it on validation photographs. NaN where the structure never occurs.
    """
    alarms, hits = (row.double().flip(0).cumsum(0).flip(0) for row in counts)
    if hits[0] == 0:
        return float("nan"), float("nan")
    dice = 2 * hits / (hits + alarms + hits[0])
    index = int(dice.argmax())
    edge = (index - 0.5) * (2 * LIMIT / (BINS - 1)) - LIMIT
    return float(torch.sigmoid(torch.tensor(edge, dtype=torch.float64))), float(dice[index])


class MaskCurve(FundusMetric):
    """Ignite metric of `average_precision` and `best_threshold` for each structure.

    `compute` gives `pr_auc_<name>`, `threshold_<name>` and `dice_<name>` (at that threshold) of every structure that
    occurs, and `mean_pr_auc`.

    Args:
        structures: names of the channels.
        lesions: structures whose mean average precision is `mean_pr_auc`.
        output_transform: from an engine's output to `(probabilities, target)`, both `(B, structures, H, W)`, with -1
            in `target` where a structure is not annotated.
        device: where the counts are kept.

    Raises:
        ignite.exceptions.NotComputableError: in `compute`, if no structure occurs.

    Examples:
        >>> metric = MaskCurve(structures=["ex"], lesions=["ex"])
        >>> target = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 2, 2)
        >>> metric.update((torch.tensor([0.1, 0.4, 0.35, 0.8]).view(1, 1, 2, 2), target))
        >>> round(metric.compute()["pr_auc_ex"], 4)
        0.8333
    """

    def __init__(
        self,
        *,
        structures: Sequence[str],
        lesions: Sequence[str] = LESIONS,
        output_transform: OutputTransform = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.structures, self.lesions = tuple(structures), tuple(lesions)
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self.counts = torch.zeros(len(self.structures), 2, BINS, dtype=torch.int64, device=self._device)

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        probabilities, target = self._plain(output)
        if probabilities.shape != target.shape or probabilities.shape[1] != len(self.structures):
            raise ValueError(
                f"probabilities {tuple(probabilities.shape)} and target {tuple(target.shape)}: want both "
                f"(B, {len(self.structures)}, H, W)"
            )
        for channel in range(len(self.structures)):
            self.counts[channel] += curve_counts(probabilities[:, channel], target[:, channel]).to(self._device)

    @sync_all_reduce("counts")
    def compute(self) -> dict[str, float]:
        present = {name: c for name, c in zip(self.structures, self.counts, strict=True) if c[1].sum() > 0}
        if not present:
            raise NotComputableError("no annotated structure occurs in the photographs: check the masks' keys")
        areas = {name: float(average_precision(c)) for name, c in present.items()}
        result = {f"pr_auc_{name}": area for name, area in areas.items()}
        for name, c in present.items():
            result[f"threshold_{name}"], result[f"dice_{name}"] = best_threshold(c)
        scored = [areas[name] for name in self.lesions if name in areas] or list(areas.values())
        return {"mean_pr_auc": sum(scored) / len(scored), **result}
