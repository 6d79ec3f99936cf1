"""What an adversarial training is made of: events, phases, the loss of one network, what its gradients go through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from ignite.engine import EventEnum
from torch import Tensor, nn

from monai_retina_gen.losses import AdversarialStep
from monai_retina_gen.losses.penalties import Penalty


class GenerativeEvents(EventEnum):
    """Events within an iteration of `AlternatingTrainer`, for handlers."""

    D_STEP_STARTED = "d_step_started"
    D_BACKWARD_COMPLETED = "d_backward_completed"
    D_STEP_COMPLETED = "d_step_completed"
    G_STEP_STARTED = "g_step_started"
    G_BACKWARD_COMPLETED = "g_backward_completed"
    G_STEP_COMPLETED = "g_step_completed"
    PHASE_STARTED = "phase_started"
    PHASE_COMPLETED = "phase_completed"


@dataclass(frozen=True)
class Phase:
    """One phase of a training.

    Args:
        name: for the log.
        epochs: its length; the last phase lasts until the end.
        freeze: prefixes of parameter names, `"generator."` or `"discriminator."` first, that do not learn.
        without: names of loss terms and penalties that are left out.
    """

    name: str
    epochs: int
    freeze: Sequence[str] = ()
    without: Sequence[str] = ()

    def apply(self, generator: nn.Module, discriminator: nn.Module) -> None:
        for prefix, network in (("generator", generator), ("discriminator", discriminator)):
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(not f"{prefix}.{name}".startswith(tuple(self.freeze)))


def phase_at(phases: Sequence[Phase], epoch: int) -> int:
    """Index of the phase of an epoch, counted from 1.

    Examples:
        >>> phases = [Phase("a", epochs=2), Phase("b", epochs=1)]
        >>> [phase_at(phases, epoch) for epoch in (1, 2, 3, 9)]
        [0, 0, 1, 1]
    """
    end = 0
    for index, phase in enumerate(phases):
        end += phase.epochs
        if epoch <= end:
            return index
    return len(phases) - 1


LossTerm = Callable[[AdversarialStep], Tensor]


class NetworkLoss:
    """Adds terms and penalties to the adversarial loss of a network, see `AlternatingTrainer`.

    A penalty with an interval counts only in every so many steps, so many times.
    """

    def __init__(self, terms: Mapping[str, LossTerm], penalties: Sequence[Penalty]) -> None:
        self.terms, self.penalties = dict(terms), list(penalties)

    def total(
        self, name: str, loss: Tensor, step: AdversarialStep, *, count: int, without: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the adversarial loss `name`, terms and penalties, and each part without gradients, by name.

        `count` is the number of this network's step; terms and penalties in `without` are left out.
        """
        values, total = {name: loss.detach()}, loss
        for key, term in self.terms.items():
            if key not in without:
                value = term(step)
                values[key], total = value.detach(), total + value
                values.update(getattr(term, "logs", {}))
        for penalty in self.penalties:
            if penalty.name not in without and count % penalty.interval == 0:
                due = penalty.loss(step)
                if due is not None:
                    values[penalty.name], total = due.detach(), total + due * penalty.interval
        return total, values

    def constrain(self, network: nn.Module, *, without: Collection[str] = ()) -> None:
        """What penalties do to the weights after a step."""
        for penalty in self.penalties:
            if penalty.name not in without:
                penalty.constrain(network)


class FiniteGradients:
    """Replaces NaN by 0 and infinite values by the limit.

    Args:
        limit: largest absolute value.

    Examples:
        >>> weight = nn.Parameter(torch.zeros(2)); weight.grad = torch.tensor([float("nan"), float("inf")])
        >>> FiniteGradients(limit=10.0)([weight]); weight.grad
        tensor([ 0., 10.])
    """

    def __init__(self, *, limit: float = 1e5) -> None:
        self.limit = limit

    @torch.no_grad()
    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                torch.nan_to_num_(parameter.grad, nan=0.0, posinf=self.limit, neginf=-self.limit)


class ClipGradientNorm:
    """Scales all gradients of a network together so that their norm is at most `max_norm`."""

    def __init__(self, *, max_norm: float) -> None:
        self.max_norm = max_norm

    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
