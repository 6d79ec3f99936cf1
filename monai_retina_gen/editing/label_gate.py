"""Label gate: does a generated image still carry the label that it was made for?

A grader judges each image; an image is accepted where the grader agrees with the grade asked for. The judge is the
shipped `retina_grader`, a single network: it is not cross-fitted, so it may recognise the photographs that it was
trained on.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from monai_retina_gen.weights import find_bundle, load_network, read_inference_config, read_metadata

__all__ = ["Gate", "GateVerdict", "LabelGate", "resolve_gate"]


@dataclass
class GateVerdict:
    """What a gate says of a batch.

    Args:
        reasons: one string an image, `""` where it is accepted.
        judge: name of the gate, for records.
    """

    reasons: list[str]
    judge: str


@runtime_checkable
class Gate(Protocol):
    """Anything that accepts or refuses generated images."""

    def check(self, images: Tensor, grades: Sequence[int], originals: Tensor | None) -> GateVerdict:
        """Judge `(B, 3, H, W)` images in [0, 1]; `originals` are the photographs that were edited, if any."""
        ...


class LabelGate:
    """Accepts an image whose predicted grade is within `tolerance` of the grade asked for.

    Args:
        grader: bundle of the judging network (or its folder), or a network with logits `(B, grades)`.
        tolerance: allowed distance in grades.
        device: where the grader runs.

    Example:
        >>> class Always2(nn.Module):
        ...     def forward(self, image):
        ...         return torch.eye(5)[[2] * len(image)]
        >>> LabelGate(grader=Always2()).check(torch.zeros(2, 3, 8, 8), [2, 4], None).reasons
        ['', 'the grader sees grade 2 instead of 4']
    """

    def __init__(self, *, grader: str | nn.Module = "retina_grader", tolerance: int = 0, device: str = "cpu") -> None:
        self.grader, self.tolerance, self.device = grader, tolerance, device
        self._network: nn.Module | None = grader if isinstance(grader, nn.Module) else None
        self._name = type(grader).__name__ if isinstance(grader, nn.Module) else str(grader)
        self._size = 0

    @torch.inference_mode()
    def check(self, images: Tensor, grades: Sequence[int], originals: Tensor | None = None) -> GateVerdict:
        """Judge a batch; see `Gate`."""
        network = self._load()
        seen = images.to(self.device, torch.float32)
        if self._size and seen.shape[-1] != self._size:
            seen = torch.nn.functional.interpolate(
                seen, (self._size, self._size), mode="bilinear", antialias=True, align_corners=False
            )
        predicted = network(seen).argmax(1).tolist()
        reasons = [
            "" if abs(p - g) <= self.tolerance else f"the grader sees grade {p} instead of {g}"
            for p, g in zip(predicted, grades, strict=True)
        ]
        return GateVerdict(reasons, self._name)

    def _load(self) -> nn.Module:
        with _LOCK:
            if self._network is None:
                self._network, self._size, self._name = _load_grader(str(self.grader), self.device)
            return self._network

    def __getstate__(self) -> dict[str, Any]:
        kept = {k: v for k, v in self.__dict__.items() if k != "_network"}
        return kept | {"_network": self.grader if isinstance(self.grader, nn.Module) else None}

    def __deepcopy__(self, memo: dict[int, Any]) -> LabelGate:
        return self


_LOCK = threading.Lock()


def _load_grader(name: str, device: str) -> tuple[nn.Module, int, str]:
    bundle = find_bundle(name)
    judge = f"{bundle.name} {read_metadata(bundle).get('version', '0')}"
    size = int(read_inference_config(bundle).get("image_size", 0))
    return load_network(bundle).to(device), size, judge


def resolve_gate(gate: str | Gate | None) -> Gate | None:
    """`None`, `"label"` (the default `LabelGate`) or a gate object; `ValueError` for anything else."""
    if gate is None:
        return None
    if gate == "label":
        return LabelGate()
    if isinstance(gate, Gate):
        return gate
    raise ValueError(f'gate {gate!r}: want None, "label", or an object with a method check(images, grades, originals)')
