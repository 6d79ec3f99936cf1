"""Penalties and constraints of adversarial training: gradient penalty, R1, weight clipping.

`AlternatingTrainer` takes a list of them. Each has a `name` (key of its value in the engine's output), an `interval`
in steps of its network, and a `network`, `"discriminator"` or `"generator"`. `loss(step)` gives a value that is added
to the network's loss, multiplied by the interval; `constrain(network)` acts on the weights after the optimiser.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_retina_gen.losses.adversarial import AdversarialStep


class Penalty:
    """Base of penalties: does nothing.

    Args:
        name: key of the value in the engine's output.
        interval: steps of the network between two evaluations, at least 1; the value is multiplied by it, so that the
            expected gradient stays the same ("lazy regularisation", Karras et al. 2020).
        network: whose steps it belongs to, `"discriminator"` or `"generator"`.
    """

    def __init__(self, *, name: str, interval: int = 1, network: str = "discriminator") -> None:
        if interval < 1:
            raise ValueError(f"interval of penalty {name!r} must be at least 1, got {interval}")
        if network not in ("discriminator", "generator"):
            raise ValueError(f"network of penalty {name!r} must be 'discriminator' or 'generator', got {network!r}")
        self.name, self.interval, self.network = name, interval, network

    def loss(self, step: AdversarialStep) -> Tensor | None:
        """Value to be added to the loss, in float32, or `None`."""
        return None

    def constrain(self, network: nn.Module) -> None:
        """Act on the weights after the optimiser's step."""


class GradientPenalty(Penalty):
    r"""Gradient penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, Eq. 3; Kim et al., Eq. 1).

    .. math:: \lambda \, E_{\hat x} (\lVert \nabla_{\hat x} D(\hat x) \rVert_2 - 1)^2

    Args:
        weight: lambda; Kim et al. give none, Gulrajani et al. take 10.
        target: norm that gradients are drawn to.
        between: `"interpolates"` of real and generated images, as Gulrajani et al. mean it; `"as_printed"`, the
            generated images, as Eq. 1 of Kim et al. is printed.
        interval: see `Penalty`.

    Examples:
        >>> from monai_retina_gen.losses import AdversarialStep
        >>> x, mix = torch.zeros(2, 1, 1, 2), torch.rand(2)
        >>> critic = lambda image: (image * torch.tensor([3.0, 4.0])).sum(dim=(1, 2, 3))  # one gradient everywhere
        >>> step = AdversarialStep(x, x, critic, lambda i: i, x, x, critic(x), critic(x), mix, x)
        >>> round(GradientPenalty(weight=10.0).loss(step).item(), 4)  # 10 * (5 - 1) ** 2
        160.0
    """

    def __init__(
        self, *, weight: float = 10.0, target: float = 1.0, between: str = "interpolates", interval: int = 1
    ) -> None:
        super().__init__(name="gradient_penalty", interval=interval)
        if between not in ("interpolates", "as_printed"):
            raise ValueError(f"between must be 'interpolates' or 'as_printed', got {between!r}")
        self.weight, self.target, self.between = weight, target, between

    def loss(self, step: AdversarialStep) -> Tensor:
        assert step.seen_real is not None  # a penalty belongs to the critic's step
        real, fake = step.seen_real.detach().float(), step.seen_fake.detach().float()
        mix = step.mix[:, None, None, None] if self.between == "interpolates" else 0.0
        images = (mix * real + (1 - mix) * fake).requires_grad_(True)
        with torch.autocast(images.device.type, enabled=False):
            norm = _gradient(step.score(images), images).flatten(1).norm(dim=1)
            return self.weight * (norm - self.target).square().mean()


class R1Penalty(Penalty):
    r"""R1 (Mescheder et al. 2018, arXiv:1801.04406, Eq. 9), with respect to real images before augmentation.

    .. math:: \frac{\gamma}{2} E_x \lVert \nabla_x D(x) \rVert_2^2

    Args:
        gamma: weight.
        interval: see `Penalty`; 16 is usual.
    """

    def __init__(self, *, gamma: float = 1.0, interval: int = 16) -> None:
        super().__init__(name="r1", interval=interval)
        self.gamma = gamma

    def loss(self, step: AdversarialStep) -> Tensor:
        images = step.real.detach().float().requires_grad_(True)
        with torch.autocast(images.device.type, enabled=False):
            gradient = _gradient(step.score(step.augment(images)), images)
            return 0.5 * self.gamma * gradient.square().sum(dim=(1, 2, 3)).mean()


class WeightClipping(Penalty):
    """Clips all weights of the critic to `[-limit, limit]` after its step (Arjovsky et al. 2017, Algorithm 1).

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> WeightClipping(limit=0.01).constrain(network)
        >>> bool(network.weight.abs().max() <= 0.01)
        True
    """

    def __init__(self, *, limit: float = 0.01) -> None:
        super().__init__(name="weight_clipping")
        if limit <= 0:
            raise ValueError(f"limit must be positive, got {limit}")
        self.limit = limit

    @torch.no_grad()
    def constrain(self, network: nn.Module) -> None:
        for parameter in network.parameters():
            parameter.clamp_(-self.limit, self.limit)


def _gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Gradient of all scores with respect to the images, itself differentiable."""
    (gradient,) = torch.autograd.grad(scores.float().sum(), images, create_graph=True)
    return gradient
