"""Loss for masks of tiny structures that are not annotated in every photograph.

Sources: Tversky loss, Salehi et al. 2017, arXiv:1706.05721 (MONAI's `TverskyLoss`), which is Dice's at equal shares;
weighted binary cross-entropy, focal after Lin et al. 2017, arXiv:1708.02002;
deep supervision with halved weights as in nnU-Net, Isensee et al. 2021.
"""

from __future__ import annotations

import torch
from monai.losses import TverskyLoss
from torch import Tensor, nn


class LesionLoss(nn.Module):
    """Weighted binary cross-entropy plus Tversky loss, per structure, over the photographs that are annotated for it.

    Cross-entropy ranks every pixel, the Tversky term keeps structures of a few pixels from drowning in background.
    It is taken over the whole batch and only for structures that are present there, since a crop without a lesion
    has no overlap to speak of.

    Args:
        positive_weight: weight of a pixel inside a structure in the cross-entropy.
        tversky_weight: weight of the Tversky term; the cross-entropy has weight 1.
        focusing: exponent of the focal cross-entropy: a pixel counts by its error to this power; 0 is the plain one.
        false_negatives: share of the missed pixels in the Tversky term, in [0, 1]; false alarms have the rest. Above
            0.5 prefers sensitivity.

    Shape:
        - logits: `(B, K, H, W)`, or `(B, S, K, H, W)` with deep supervision; resolution s has weight `2 ** -s`.
        - target: `(B, K, H, W)` in [0, 1] (soft masks are welcome); a channel of -1 is not annotated and does not
          count.
        - output: scalar, float32 also inside autocast; 0 if nothing is annotated.

    Raises:
        ValueError: for shapes that do not match.

    Examples:
        >>> target = torch.zeros(1, 2, 8, 8)
        >>> target[0, 0, :4], target[0, 1] = 1.0, -1.0
        >>> sure = torch.full((1, 2, 8, 8), 20.0) * (2 * target - 1)
        >>> round(float(LesionLoss()(sure, target)), 4), round(float(LesionLoss()(-sure, target)), 1)
        (0.0, 61.0)
    """

    def __init__(
        self,
        *,
        positive_weight: float = 5.0,
        tversky_weight: float = 1.0,
        false_negatives: float = 0.6,
        focusing: float = 0.0,
    ) -> None:
        super().__init__()
        if positive_weight <= 0 or min(tversky_weight, focusing) < 0 or not 0 <= false_negatives <= 1:
            raise ValueError(
                f"positive_weight={positive_weight}, tversky_weight={tversky_weight}, false_negatives="
                f"{false_negatives}, focusing={focusing}: want a positive weight, a weight of at least 0, a share in "
                "[0, 1], and an exponent of at least 0"
            )
        self.positive_weight, self.tversky_weight, self.focusing = positive_weight, tversky_weight, focusing
        self.tversky = TverskyLoss(
            sigmoid=True, alpha=1 - false_negatives, beta=false_negatives, batch=True, reduction="none"
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        scales = logits[:, None] if logits.ndim == 4 else logits
        if scales.ndim != 5 or scales[:, 0].shape != target.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not match")
        with torch.autocast(logits.device.type, enabled=False):
            weights = [2.0**-s for s in range(scales.shape[1])]
            losses = [w * self._at_one_scale(scales[:, s].float(), target) for s, w in enumerate(weights)]
            return torch.stack(losses).sum() / sum(weights)

    def _at_one_scale(self, logits: Tensor, target: Tensor) -> Tensor:
        annotated = (target >= 0).float()
        target = target.clamp(min=0).float()
        pixels = nn.functional.binary_cross_entropy_with_logits(
            logits, target, weight=annotated, pos_weight=logits.new_tensor(self.positive_weight), reduction="none"
        )
        if self.focusing:
            pixels = pixels * (target - logits.sigmoid()).abs().pow(self.focusing)
        entropy = _mean(pixels.sum((0, 2, 3)) / annotated.sum((0, 2, 3)).clamp(min=1), annotated.sum((0, 2, 3)) > 0)
        # Where nothing is annotated, both prediction and target are empty, and neither overlap nor alarm is counted.
        overlap = self.tversky(logits.masked_fill(annotated == 0, -1e4), target).flatten()
        return entropy + self.tversky_weight * _mean(overlap, target.sum((0, 2, 3)) > 0)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen structures; 0, with a gradient of 0, where there are none."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
