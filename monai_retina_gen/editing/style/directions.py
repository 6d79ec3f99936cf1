"""Lesion directions: what to add to the styles for more of a lesion, the file that keeps them, and edits along them.

Source: Zhao et al. 2023, Eq. 6, `S_new = S + alpha * mu` at one channel; here also in standard deviations, along
several channels, and for several lesions at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.editing.style.composition import compose_channels
from monai_retina_gen.editing.style.score_presets import STEPS
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import StyleSpace
from monai_retina_gen.weights.state_files import load_pinned

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
        mean, std, low, high: `(K,)` mean, deviation, 1 % and 99 % quantile of the styles; a step in `sigma` does not
            leave `low` to `high`, unless the styles lie outside.
        channels: `(M,)` channels whose effect was measured, for edits of several lesions at once.
        effects: `(M,)` by row (lesions, vessel, od, background), the change by a step of one sigma.
        spread: by row, the standard deviation over images, the unit in which changes are compared.
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


class StyleShift:
    """Where an edit moves styles: from lesions and strengths to new styles.

    `step` is `mu`, `sigma` or `max`; by default the directions' own. Another moves a direction's main channel alone.
    `ValueError` for another step, or directions of another network.
    """

    def __init__(self, directions: Directions, space: StyleSpace, *, step: str | None = None) -> None:
        if len(directions.mean) != space.size:
            raise ValueError(f"directions over {len(directions.mean)} channels for a network that has {space.size}")
        if step is not None and step not in STEPS:
            raise ValueError(f"step {step!r}: want one of {', '.join(STEPS)}")
        self.directions, self.space, self.step = directions, space, step or directions.step
        self._vectors: dict[tuple[str, ...], Tensor] = {}

    def vector(self, lesions: tuple[str, ...]) -> Tensor:
        """Change of the styles at strength 1, `(K,)`, on the CPU."""
        if lesions not in self._vectors:
            self._vectors[lesions] = self._joined(lesions)
        return self._vectors[lesions]

    def first_layer(self, lesions: tuple[str, ...]) -> int:
        """First layer whose styles an edit changes: those before it need not run again."""
        moved = self.vector(lesions).nonzero().flatten()
        return self.space.locate(int(moved[0]))[0] if len(moved) else len(self.space.widths) - 1

    def __call__(self, styles: Tensor, lesions: Sequence[tuple[str, ...]], strengths: Tensor) -> Tensor:
        """New styles `(B, K)` of styles `(B, K)`, with the lesions of each row and strengths `(B,)`."""
        change = torch.stack([self.vector(each) for each in lesions]).to(styles) * strengths.to(styles)[:, None]
        if self.step == "max":
            largest = [s.amax(1, keepdim=True).expand_as(s) for s in self.space.split(styles)]
            change = change * self.space.flatten(largest)
        if self.step != "sigma":
            return styles + change
        low, high = self.directions.low.to(styles), self.directions.high.to(styles)
        # a style that lies outside of what samples have may stay there, and only come back
        moved = torch.minimum(torch.maximum(styles + change, torch.minimum(styles, low)), torch.maximum(styles, high))
        return torch.where(change == 0, styles, moved)

    def _joined(self, lesions: tuple[str, ...]) -> Tensor:
        """One direction as it is; several by least squares on what the channels were measured to do."""
        single = torch.stack([self._single(name) for name in lesions]).sum(0)
        index = self.directions.channels
        elsewhere = single.clone()
        elsewhere[index] = 0  # a direction over all styles cannot be told from the effects of single channels
        units = {self.step, self.directions.step}
        if len(lesions) == 1 or units != {"sigma"} or len(index) < len(lesions) or bool(elsewhere.any()):
            return single
        d = self.directions
        wanted = {name: self._reached(name) for name in lesions if name in d.effects}
        reach = (d.high - d.low)[index] / (2 * d.std[index].clamp(min=1e-8))
        steps = compose_channels(wanted, d.effects, d.spread, reach)
        vector = torch.zeros_like(single)
        vector[index] = steps.to(vector) * d.std[index]
        return vector if bool(vector.any()) else single

    def _single(self, lesion: str) -> Tensor:
        d, vector = self.directions, self.directions.vectors[lesion]
        if self.step == d.step:
            return vector
        main = int((vector.abs() / (d.std if d.step == "sigma" else torch.ones_like(d.std))).argmax())
        sizes = {"mu": d.mean, "max": torch.ones_like(d.mean), "sigma": (d.high - d.low) / 2}
        moved = torch.zeros_like(vector)
        moved[main] = sizes[self.step][main]
        return moved

    def _reached(self, lesion: str) -> float:
        """Change of the lesion's area at strength 1 of its own direction, by the measured effects, in its spread."""
        d = self.directions
        steps = d.vectors[lesion][d.channels] / d.std[d.channels].clamp(min=1e-8)
        return float(steps @ d.effects[lesion]) / d.spread[lesion]
