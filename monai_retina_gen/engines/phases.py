"""Phases of training: which parts of the networks learn, and which terms of the loss count, for how many epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Phase:
    """One phase of a training.

    Args:
        name: for the log.
        epochs: its length; the last phase lasts until the end.
        freeze: prefixes of parameter names, `"generator."` or `"discriminator."` first, that do not learn.
        without: names of loss terms and penalties that are left out.

    Examples:
        >>> Phase("coarse", epochs=10, freeze=("generator.fine",)).name
        'coarse'
    """

    name: str
    epochs: int
    freeze: Sequence[str] = ()
    without: Sequence[str] = ()

    def apply(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Set `requires_grad` of all parameters."""
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
