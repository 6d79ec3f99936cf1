"""Lesion directions: what to add to the styles for more of a lesion, and the file that keeps them with a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.editing.style.score_presets import STEPS
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.pinned_files import load_pinned

__all__ = ["DIRECTIONS", "Directions", "load_directions"]

DIRECTIONS = "models/directions.pt"
"""Where a bundle keeps them."""


@dataclass(frozen=True)
class Directions:
    """Directions of lesions in the style space of one network.

    Args:
        vectors: by lesion, `(K,)` change of the styles at strength 1. With the step `max` it is one at the channel,
            and the edit multiplies it by the largest style of the image in the channel's layer.
        step: `mu`, `sigma` or `max`, see `DirectionPreset`.
        mean: `(K,)` mean style.
        std: `(K,)` standard deviation.
        low: `(K,)` 1 % quantile; a step in `sigma` does not leave `low` to `high`, unless the styles lie outside.
        high: `(K,)` 99 % quantile.
        channels: `(M,)` channels whose effect was measured, for edits of several lesions at once.
        effects: `(M,)` by row (lesions, vessel, od, background), the change by a step of one sigma.
        spread: by row, the standard deviation over images, the unit in which changes are compared.

    Raises:
        ValueError: for no lesion, an unknown one, or tensors of unequal size.
    """

    vectors: Mapping[str, Tensor]
    step: str
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    channels: Tensor
    effects: Mapping[str, Tensor]
    spread: Mapping[str, float]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.vectors) - set(LESIONS))
        if not self.vectors or unknown or self.step not in STEPS:
            raise ValueError(
                f"directions of {sorted(self.vectors)} with the step {self.step!r}: want some of {', '.join(LESIONS)} "
                f"and one of {', '.join(STEPS)}"
            )
        rows = {**self.vectors, "std": self.std, "low": self.low, "high": self.high}
        wrong = [name for name, row in rows.items() if row.shape != self.mean.shape]
        wrong += [name for name, row in self.effects.items() if row.shape != self.channels.shape]
        if wrong or set(self.effects) != set(self.spread):
            raise ValueError(f"directions: {wrong or 'effects and spread'} do not fit the others in size or names")

    @property
    def lesions(self) -> tuple[str, ...]:
        """Lesions that have a direction."""
        return tuple(self.vectors)

    def state(self) -> dict[str, Tensor]:
        """As plain tensors by name."""
        found = {f"vector.{name}": vector for name, vector in self.vectors.items()}
        found |= {f"effect.{name}": row for name, row in self.effects.items()}
        found |= {f"spread.{name}": torch.tensor(value) for name, value in self.spread.items()}
        names = ("mean", "std", "low", "high", "channels")
        return found | {name: getattr(self, name) for name in names} | {f"step.{self.step}": torch.tensor(1)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Directions:
        """From what `state` gave; `WeightsError` for another state dict."""

        def rows(kind: str) -> dict[str, Tensor]:
            return {name.split(".", 1)[1]: value for name, value in state.items() if name.startswith(f"{kind}.")}

        try:
            fixed = {name: state[name] for name in ("mean", "std", "low", "high", "channels")}
            (step,) = rows("step")
            spread = {name: float(value) for name, value in rows("spread").items()}
            return cls(rows("vector"), step, effects=rows("effect"), spread=spread, **fixed)
        except (KeyError, ValueError) as error:
            raise WeightsError(f"these are no lesion directions: {error}") from None


def load_directions(bundle: Path, file: str = DIRECTIONS, *, of: str) -> Directions:
    """The directions of a bundle, for the network whose weights have the sha256 `of`.

    `WeightsError` if they are missing or changed, or belong to other weights.
    """
    command = f"model directions --generator {bundle.name}"
    return Directions.from_state(load_pinned(bundle, file, of=of, command=command))
