"""The one interface over every trained generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError

__all__ = ["MODES", "GeneratedBatch", "RetinaGenerator", "latents_from_seeds"]

MODES = {
    "sample": "another eye of the same grade",
    "reconstruct": "the same photograph through the generator, unedited",
    "edit": "the same eye with other lesions",
    "synthesize": "an eye from masks and a grade",
}
_BUNDLES_WITH = {
    "sample": "retina_drgan, retina_vae, retina_wgan, retina_wgan_gp, retina_stylegan3",
    "reconstruct": "retina_vae, retina_stylegan3",
    "edit": "retina_stylegan3",
    "synthesize": "retina_drgan",
}


@dataclass
class GeneratedBatch:
    """Images that a generator made.

    Args:
        image: `(B, 3, H, W)` float32 in [0, 1], on the generator's device; an ordinary tensor, fit to train on.
        grade: `(B,)` integers.
        records: how each was made.
        masks: name to `(B, 1, H, W)` in [0, 1], where the mode makes them.
    """

    image: Tensor
    grade: Tensor
    records: list[GenerationRecord]
    masks: dict[str, Tensor] = field(default_factory=dict)


def latents_from_seeds(seeds: Sequence[int], dim: int) -> Tensor:
    """Standard normal latents, one seed each, drawn on the CPU: a sample depends on its seed alone.

    Args:
        seeds: `B` integers in [0, 2**63).
        dim: size of a latent.

    Returns:
        `(B, dim)` float32.

    Examples:
        >>> torch.equal(latents_from_seeds([1, 2], 4)[1], latents_from_seeds([2], 4)[0])
        True
    """
    rows = [torch.randn(dim, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, dim)


def check_range(images: Tensor) -> None:
    """`ImageValueError` unless all values are finite and in [0, 1]; a GPU is waited for once.

    Examples:
        >>> check_range(torch.tensor([0.5, float("nan")]))
        Traceback (most recent call last):
        ...
        monai_retina_gen.errors.ImageValueError: images must be finite and in [0, 1], got [nan, nan]
    """
    if not images.numel():
        return
    low, high = torch.stack(torch.aminmax(images)).tolist()  # NaN where any is
    if not (low >= 0 and high <= 1):
        raise ImageValueError(f"images must be finite and in [0, 1], got [{low}, {high}]")


class RetinaGenerator:
    """Base of all generators: a network with its identity, and the modes that it has.

    A subclass sets `modes`, `image_size` and `num_classes`, and implements the methods of its modes.
    `identify` tells it which bundle it came from; the records name it.

    Args:
        network: the network, in evaluation mode from here on.
    """

    modes: frozenset[str] = frozenset()
    own_masks_options: Mapping[str, Any] = MappingProxyType({})
    """Options of `synthesize` for the masks of a real eye: what would be odd to ask for may well be there."""
    image_size: int
    num_classes: int = 5

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()
        self.name, self.version, self.weights_sha256 = type(self).__name__, "0", ""

    def identify(self, *, name: str, version: str, weights_sha256: str) -> None:
        """Set the identity that the records carry."""
        self.name, self.version, self.weights_sha256 = name, version, weights_sha256

    def load_parts(self, bundle: Path, config_name: str = "inference") -> None:
        """Take further parts from the bundle that the generator was loaded from, such as an encoder; none here."""

    @property
    def device(self) -> torch.device:
        """Where the network is, whoever moved it: read from its parameters, else from its buffers."""
        first = next(chain(self.network.parameters(), self.network.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    def to(self, device: str | torch.device) -> RetinaGenerator:
        """Move the network; returns the generator itself."""
        self.network.to(device)
        return self

    def sample(self, grades: Sequence[int] | Tensor, *, seeds: Sequence[int], **options: Any) -> GeneratedBatch:
        """Images for grades: one seed each."""
        raise self._lacks("sample")

    def reconstruct(self, images: Tensor, grades: Sequence[int] | Tensor, **options: Any) -> GeneratedBatch:
        """The same photographs through the generator at edit strength 0."""
        raise self._lacks("reconstruct")

    def edit(self, images: Tensor, grades: Sequence[int] | Tensor, **options: Any) -> GeneratedBatch:
        """The same eyes with other lesions, grade kept."""
        raise self._lacks("edit")

    def synthesize(
        self, masks: Mapping[str, Tensor], grades: Sequence[int] | Tensor, *, seeds: Sequence[int], **options: Any
    ) -> GeneratedBatch:
        """Images from masks and grades."""
        raise self._lacks("synthesize")

    def encode(self, images: Tensor, grades: Sequence[int] | Tensor | None = None) -> Tensor:
        """Latents of photographs."""
        raise UnsupportedModeError(f"generator {self.name!r} has no encoder")

    @property
    def missing_grades(self) -> frozenset[int]:
        """Grades that `sample` cannot serve, such as those for which curation has kept nothing."""
        return frozenset()

    def check_mode(self, mode: str) -> None:
        """Raise `UnsupportedModeError` where the generator lacks `mode`, naming who has it."""
        if mode not in self.modes:
            raise self._lacks(mode)

    def check_grades(self, grades: Sequence[int] | Tensor) -> Tensor:
        """Grades as `(B,)` int64 on the generator's device; `ValueError` for one outside its scale."""
        values = torch.as_tensor(grades).reshape(-1)
        if values.is_floating_point() and not torch.equal(values, values.round()):
            raise ValueError(f"grades must be whole numbers, got {values.tolist()[:8]}")
        bad = [g for g in values.tolist() if not 0 <= g < self.num_classes]
        if bad:
            raise ValueError(f"grades {bad[:8]} are outside 0-{self.num_classes - 1} of generator {self.name!r}")
        return values.long().to(self.device)

    def check_images(self, images: Tensor) -> Tensor:
        """Images as `(B, 3, image_size, image_size)` float32 in [0, 1] on the device; `ImageValueError` otherwise."""
        shape = (3, self.image_size, self.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise ImageValueError(f"generator {self.name!r} reads (B, {shape}) images, got {tuple(images.shape)}")
        images = images.to(self.device, torch.float32)
        check_range(images)
        return images

    def record(self, mode: str, grade: int, seed: int, **fields: Any) -> GenerationRecord:
        """Record of one image of this generator."""
        return GenerationRecord(
            generator=self.name,
            version=self.version,
            weights_sha256=self.weights_sha256,
            mode=mode,
            grade=int(grade),
            seed=int(seed),
            image_size=self.image_size,
            **fields,
        )

    def _lacks(self, mode: str) -> UnsupportedModeError:
        if mode not in MODES:
            return UnsupportedModeError(f"unknown mode {mode!r}: the modes are {', '.join(MODES)}")
        return UnsupportedModeError(
            f"generator {self.name!r} has no mode {mode!r} ({MODES[mode]}); it has {sorted(self.modes)}. "
            f"Bundles that have it: {_BUNDLES_WITH[mode]}."
        )
