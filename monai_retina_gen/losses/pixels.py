"""Losses of pixels: of an autoencoder, and with a weight for every pixel.

Source of the evidence lower bound: Manasa and Morampudi, Eq. 2-3: pixel-wise binary cross-entropy plus Kullback-Leibler
divergence. Their Eq. 2 as printed lacks the factor 1/2 and the square inside the logarithm; the divergence of
N(mu, sigma^2) from N(0, 1) is `KL = 1/2 sum(sigma^2 + mu^2 - log sigma^2 - 1)` (Kingma and Welling 2014, appendix B).
"""

from __future__ import annotations

import torch
from monai.losses import TverskyLoss
from torch import Tensor, nn


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of N(mean, exp(log_variance)) from N(0, 1) in nats, per dimension; of any one shape, not negative."""
    return 0.5 * (log_variance.exp() + mean.square() - log_variance - 1)


class ELBOLoss(nn.Module):
    """Reconstruction term plus weighted KL divergence, both summed per image and averaged over the batch.

    Args:
        kl_weight: weight of the divergence; 1 is the bound itself. `set_kl_weight` changes it for annealing.
        free_bits: nats per latent dimension (averaged over the batch) that are not penalised
            (Kingma et al. 2016, Eq. 15).
        perceptual: callable `(images, targets) -> (B,)` distances on images in [0, 1], or `None`.
        perceptual_weight: its weight, in units of the summed reconstruction term.

    Shape:
        - outputs: dictionary with `logits` `(B, C, H, W)`, `mean` and `log_variance` `(B, D)`.
        - target: `(B, C, H, W)` in [0, 1]; returns a scalar.

    Examples:
        >>> outputs = {"logits": torch.zeros(2, 3, 8, 8), "mean": torch.zeros(2, 4), "log_variance": torch.zeros(2, 4)}
        >>> round(float(ELBOLoss()(outputs, torch.full((2, 3, 8, 8), 0.5))), 2)  # 3 * 8 * 8 * log(2)
        133.08
    """

    def __init__(
        self,
        *,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if perceptual_weight > 0 and perceptual is None:
            raise ValueError(
                f"perceptual_weight={perceptual_weight} needs `perceptual`, a network that compares images"
            )
        self.kl_weight, self.free_bits = kl_weight, free_bits
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight

    def set_kl_weight(self, value: float) -> None:
        """Set the weight of the divergence: the setter for MONAI's `ParamSchedulerHandler`."""
        self.kl_weight = value

    def forward(self, outputs: dict[str, Tensor], target: Tensor) -> Tensor:
        logits = outputs["logits"].float()
        pixels = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)
        divergence = kl_divergence(outputs["mean"].float(), outputs["log_variance"].float()).mean(dim=0)
        loss = pixels + self.kl_weight * divergence.clamp(min=self.free_bits).sum()
        if self.perceptual is not None and self.perceptual_weight > 0:
            loss = loss + self.perceptual_weight * self.perceptual(torch.sigmoid(logits), target).mean()
        return loss


class WeightedL1Loss(nn.Module):
    """`mean(w * (|d| + square * d^2))` with d the difference of prediction and target.

    Few pixels matter most where lesions are to be learned: they get more weight. The absolute error ends in sharp
    images; the squared one moves what is far off first.

    Args:
        square: factor of the squared error.

    Shape:
        - preds: `(B, C, H, W)`.
        - target: `(B, C + 1, H, W)`, the last channel is the weight; or `(B, C, H, W)`, all weights 1.

    Raises:
        ValueError: for other shapes.

    Examples:
        >>> target = torch.cat([torch.zeros(1, 3, 2, 2), torch.full((1, 1, 2, 2), 2.0)], dim=1)
        >>> WeightedL1Loss()(torch.ones(1, 3, 2, 2), target)
        tensor(2.)
    """

    def __init__(self, *, square: float = 0.0) -> None:
        super().__init__()
        self.square = square

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        channels = preds.shape[1]
        if target.shape[1] - channels not in (0, 1) or target.shape[2:] != preds.shape[2:]:
            raise ValueError(
                f"target {tuple(target.shape)} does not fit preds {tuple(preds.shape)}: want as many channels, or "
                "one more with the weights"
            )
        difference = (preds - target[:, :channels]).abs()
        error = difference + self.square * difference.square()
        return (error * target[:, channels:]).mean() if target.shape[1] > channels else error.mean()


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
