"""What one network of an adversarial training minimises: the adversarial loss, further terms, and penalties."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from monai_retina_gen.losses import AdversarialStep, Penalty

LossTerm = Callable[[AdversarialStep], Tensor]


class NetworkLoss:
    """Adds terms and penalties to the adversarial loss of a network.

    Args:
        terms: by name, see `AlternatingTrainer`.
        penalties: of this network. One with an interval counts only in every so many steps, so many times.
    """

    def __init__(self, terms: Mapping[str, LossTerm], penalties: Sequence[Penalty]) -> None:
        self.terms, self.penalties = dict(terms), list(penalties)

    def total(
        self, name: str, loss: Tensor, step: AdversarialStep, *, count: int, without: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and each part without gradients, by name.

        Args:
            name: of the adversarial loss.
            loss: its value.
            step: what terms and penalties are functions of.
            count: steps of this network, this one included.
            without: names of terms and penalties that are left out.
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


def each_score(scores: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Changed scores of one or several discriminators."""
    if isinstance(scores, Tensor):
        return change(scores)
    if isinstance(scores, dict):
        return {name: each_score(score, change) for name, score in scores.items()}
    return [each_score(score, change) for score in scores]
