"""Adversarial losses: Wasserstein, non-saturating, least squares, hinge, and those of several discriminators.

Sources: Arjovsky et al. 2017, arXiv:1701.07875; Goodfellow et al. 2014; Mao et al. 2017, arXiv:1611.04076; Lim and Ye
2017, arXiv:1705.02894; of several, Zhou et al. (DR-GAN), Eq. 1, first term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus


@dataclass
class AdversarialStep:
    """One step of a critic or generator.

    Args:
        real: real images `(B, C, H, W)` in [-1, 1], before any augmentation.
        fake: generated images, before any augmentation; with gradients in a generator's step, without in a critic's.
        score: the critic with its condition: from images to scores, without augmentation.
        augment: augmentation of the critic's input; the identity where there is none.
        seen_real: `real` as the critic saw it; `None` in a generator's step, whose critic sees none.
        seen_fake: `fake` as the critic saw it.
        real_scores: scores of `seen_real`; `None` in a generator's step.
        fake_scores: scores of `seen_fake`.
        mix: `(B,)` random numbers in [0, 1], for interpolates.
        latent: latents of `fake`.
        condition: what both networks were conditioned on, by name.
        augment_alike: augments as `seen_fake` was augmented, with the same random draws: what is compared with it,
            such as the real image of a pair, has to be turned and coloured as it is.
    """

    real: Tensor
    fake: Tensor
    score: Callable[[Tensor], Any]
    augment: Callable[[Tensor], Tensor]
    seen_real: Tensor | None
    seen_fake: Tensor
    real_scores: Any
    fake_scores: Any
    mix: Tensor
    latent: Tensor
    condition: dict[str, Tensor] = field(default_factory=dict)
    augment_alike: Callable[[Tensor], Tensor] = field(default=lambda images: images)


class FirstRows(nn.Module):
    """Gives a term of `AlternatingTrainer(g_terms=...)` the first `count` rows alone: reconstructions, before samples.

    Examples:
        >>> term = FirstRows(lambda step: (step.real - step.fake).abs().sum(), count=1)
        >>> real, fake = torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1)
        >>> term(AdversarialStep(real, fake, None, None, real, fake, None, None, None, None))
        tensor(3.)
    """

    def __init__(self, term: Callable[[AdversarialStep], Tensor], *, count: int) -> None:
        super().__init__()
        self.term: Any = term
        self.count = count

    @property
    def logs(self) -> dict[str, Tensor]:
        logs: dict[str, Tensor] = getattr(self.term, "logs", {})
        return logs

    def forward(self, step: AdversarialStep) -> Tensor:
        condition = {name: value[: self.count] for name, value in step.condition.items()}
        rows = replace(step, real=step.real[: self.count], fake=step.fake[: self.count], condition=condition)
        found: Tensor = self.term(rows)
        return found


class SumOfTerms(nn.Module):
    """The sum of terms by name, such as `PairedPerceptual`, that compare each generated image with its real one.

    `logs` holds the terms of the last call.

    Examples:
        >>> loss = SumOfTerms({"error": lambda step: (step.fake - step.real).abs().mean()})
        >>> loss(torch.ones(1, 3, 2, 2), {"image": torch.zeros(1, 3, 2, 2), "eye": torch.zeros(1, 3, 2, 2)})
        tensor(1.)
    """

    def __init__(self, terms: Mapping[str, Any]) -> None:
        super().__init__()
        self.terms = dict(terms)
        self.logs: dict[str, Tensor] = {}

    def forward(self, preds: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        real = target["image"]
        condition = {"photograph": real, "eye": target["eye"]}
        step = AdversarialStep(real, preds, None, lambda x: x, None, preds, None, None, None, None, condition)  # type: ignore[arg-type]
        values = {name: term(step) for name, term in self.terms.items()}
        self.logs = {name: value.detach() for name, value in values.items()}
        total: Tensor = sum(values.values(), torch.zeros((), device=preds.device))
        return total


class _Weighted:
    def __init__(self, *, generator_weight: float = 1.0) -> None:
        if generator_weight < 0:
            raise ValueError(f"generator_weight must not be negative, got {generator_weight}")
        self.generator_weight = generator_weight


class WassersteinLoss:
    """Estimate of the Wasserstein-1 distance, its sign turned for the critic: the first two terms of Kim et al., Eq. 1.

    Examples:
        >>> loss, real, fake = WassersteinLoss(), torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0])
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (-1.5, -0.5)
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean D(G(z)) - mean D(x)`, to be minimised over the critic."""
        return fake_scores.mean() - real_scores.mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`-mean D(G(z))`, to be minimised over the generator."""
        return -fake_scores.mean()


class NonSaturatingLoss(_Weighted):
    """Logistic loss with the generator's term that does not saturate.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it: 0.4 in Zhao et al., Eq. 1.

    Examples:
        >>> loss, zero = NonSaturatingLoss(), torch.zeros(4)
        >>> round(loss.discriminator(zero, zero).item(), 4)  # 2 log 2
        1.3863
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean softplus(D(G(z))) + mean softplus(-D(x))`."""
        return softplus(fake_scores).mean() + softplus(-real_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`mean softplus(-D(G(z)))`, weighted."""
        return self.generator_weight * softplus(-fake_scores).mean()


class LeastSquaresLoss:
    """Squared distance of scores to 1 for real and 0 for generated images, of single scores or of patches.

    Examples:
        >>> loss, real, fake = LeastSquaresLoss(), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5])
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (0.625, 0.625)
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean (D(x) - 1)^2 + mean D(G(z))^2`."""
        return (real_scores - 1).square().mean() + fake_scores.square().mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`mean (D(G(z)) - 1)^2`."""
        return (fake_scores - 1).square().mean()


class HingeLoss(_Weighted):
    """Real scores above 1 and generated ones below -1 teach the discriminator nothing more; scores or patches.

    `generator_weight` is the factor of the generator's term, where other terms are added to it.

    Examples:
        >>> loss, real, fake = HingeLoss(), torch.tensor([3.0, 0.0]), torch.tensor([-3.0, 1.0])
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (1.5, 1.0)
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))`."""
        return relu(1 - real_scores).mean() + relu(1 + fake_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`-mean D(G(z))`, weighted."""
        return -self.generator_weight * fake_scores.mean()


class MultiScaleAdversarialLoss:
    """Adds the loss of each scale of a discriminator that returns a list of scores under `score`.

    Args:
        base: loss of one discriminator, such as `NonSaturatingLoss` (the paper's logarithms; its generator's term is
            the one that does not saturate) or `LeastSquaresLoss`.

    Examples:
        >>> loss, scores = MultiScaleAdversarialLoss(base=NonSaturatingLoss()), {"score": [torch.zeros(2)] * 3}
        >>> round(loss.discriminator(scores, scores).item(), 4)  # 6 log 2
        4.1589
    """

    def __init__(self, *, base: Any) -> None:
        self.base = base

    def discriminator(self, real_scores: dict[str, Any], fake_scores: dict[str, Any]) -> Tensor:
        """Sum over scales, to be minimised over the discriminators."""
        pairs = zip(real_scores["score"], fake_scores["score"], strict=True)
        return torch.stack([self.base.discriminator(real, fake) for real, fake in pairs]).sum()

    def generator(self, fake_scores: dict[str, Any]) -> Tensor:
        """Sum over scales, to be minimised over the generator."""
        return torch.stack([self.base.generator(fake) for fake in fake_scores["score"]]).sum()


class WeightedHinge(_Weighted):
    """Hinge loss (Lim and Ye 2017, arXiv:1705.02894), each place by its weight, averaged over judges.

    For a discriminator that returns `{"score": [...], "weight": [...]}`, such as `PaintingDiscriminator`. It begins at
    2; where nothing counts it is 0.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it; not negative.

    Examples:
        >>> loss, weight = WeightedHinge(), [torch.tensor([1.0, 0.0])]
        >>> real = {"score": [torch.tensor([0.5, 0.0])], "weight": weight}
        >>> fake = {"score": [torch.tensor([-0.5, 0.0])], "weight": weight}
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (1.0, 0.5)
    """

    def discriminator(self, real_scores: dict[str, Any], fake_scores: dict[str, Any]) -> Tensor:
        """`mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))`, to be minimised over the discriminator."""
        real = [relu(1 - score) for score in real_scores["score"]]
        fake = [relu(1 + score) for score in fake_scores["score"]]
        return _mean(real, real_scores["weight"]) + _mean(fake, fake_scores["weight"])

    def generator(self, fake_scores: dict[str, Any]) -> Tensor:
        """`-mean D(G(z))`, weighted."""
        return -self.generator_weight * _mean(fake_scores["score"], fake_scores["weight"])


def _mean(values: list[Tensor], weights: list[Tensor]) -> Tensor:
    pairs = zip(values, weights, strict=True)
    return torch.stack([(value * weight).sum() / weight.sum().clamp(min=1e-6) for value, weight in pairs]).mean()
