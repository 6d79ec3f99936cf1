"""Batches of the painter of lesions, whose holes are drawn on the device, and its inferer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor
from torch.nn.functional import avg_pool2d

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.engines.prepare_batch import Place, PrepareOnDevice
from monai_retina_gen.networks.latents import latents_from_seeds
from monai_retina_gen.networks.lesion_painter import COVERED, dilated


class PreparePaintingBatch(PrepareOnDevice):
    """Photographs and canvases for `AlternatingTrainer`.

    Holes lie around lesions (each kind of a crop with probability `lesion_share`; their masks are given, so that the
    network learns to draw them), where another crop of the batch has its lesions, and in random ellipses (no mask
    there: the network learns to fill in, and so to remove). A lesion that a hole happens to touch is always given.
    Holes keep off the rim and the disc. What is drawn depends on the random state of CPU and device alone, which
    `AlternatingTrainer` seeds.

    Args:
        lesion_share: probability that lesions of a kind are erased and drawn again.
        empty_share: probability of holes in the shape of another crop's lesions.
        ellipse_share: probability of each of three ellipses.
        margin: smallest and largest distance from a lesion to the edge of its hole, in pixels.
        jitter: strength of the change of colour, a deviation of the logarithm of gain and gamma; 0 for none, as in
            validation.
        soft_share: probability that the masks of a crop get soft edges, as composed ones have them; microaneurysms,
            which are hardly more than edge, keep theirs.

    Returns:
        `(real, {"canvas": (B, 10, H, W)})`, `real` in [-1, 1].
    """

    def __init__(
        self,
        *,
        lesion_share: float = 0.8,
        empty_share: float = 0.5,
        ellipse_share: float = 0.4,
        margin: tuple[int, int] = (5, 10),
        jitter: float = 0.2,
        soft_share: float = 0.5,
    ) -> None:
        self.lesion_share, self.empty_share, self.ellipse_share = lesion_share, empty_share, ellipse_share
        self.margin, self.jitter, self.soft_share = tuple(margin), jitter, soft_share

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        image, masks = (place(batch[key]).float() / 255 for key in ("image", "masks"))
        if self.jitter:
            image = colour_jitter(image, self.jitter)
        field, allowed, rest = masks[:, :1], masks[:, 1:2], masks[:, 2:]
        hole = self._holes(rest[:, 1:] >= COVERED) * allowed
        canvas = torch.cat([image, field, hole, self._softened(rest)], dim=1)
        return image * 2 - 1, {"canvas": canvas}

    def _softened(self, masks: Tensor) -> Tensor:
        """Vessels and lesions `(B, 5, H, W)`, of which the last three may get soft edges."""
        if not self.soft_share:
            return masks
        softened = avg_pool2d(avg_pool2d(masks[:, 2:], 3, 1, 1), 3, 1, 1)
        chosen = torch.rand(len(masks), 1, 1, 1, device=masks.device) < self.soft_share
        return torch.cat([masks[:, :2], torch.where(chosen, softened, masks[:, 2:])], dim=1)

    def _holes(self, lesions: Tensor) -> Tensor:
        """`(B, 1, H, W)` of lesions `(B, 4, H, W)`."""
        count, device = len(lesions), lesions.device
        margin = int(torch.randint(self.margin[0], self.margin[1] + 1, (1,)))
        chosen = torch.rand(count, lesions.shape[1], 1, 1, device=device) < self.lesion_share
        own = (lesions & chosen).any(1, keepdim=True)
        empty = torch.rand(count, 1, 1, 1, device=device) < self.empty_share
        other = lesions.any(1, keepdim=True).roll(1, 0).flip(3) & empty
        erased = dilated((own | other).float(), margin)
        drawn = ellipses(count, lesions.shape[2], lesions.shape[3], share=self.ellipse_share, device=device)
        return torch.maximum(erased, drawn)


class PreparePaintingEvaluation(PrepareOnDevice):
    """Canvases as input and the photographs, with the canvas once more, as target: for evaluators.

    Holes lie around all lesions, at a distance of `margin` pixels; their masks are given, and nothing is drawn at
    random.

    Returns:
        `(canvas (B, 10, H, W), target (B, 13, H, W))`: the photograph in [-1, 1] before the canvas.
    """

    def __init__(self, *, margin: int = 8) -> None:
        self.prepare = PreparePaintingBatch(
            lesion_share=1.0, empty_share=0.0, ellipse_share=0.0, margin=(margin, margin), jitter=0.0, soft_share=0.0
        )

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor]:
        real, condition = self.prepare.read(batch, place)
        return condition["canvas"], torch.cat([real, condition["canvas"]], dim=1)


class PaintingNoise:
    """The painter's noise for `AlternatingTrainer(latents=...)`, drawn where the canvas lies."""

    def __call__(self, count: int, generator: torch.Generator, condition: dict[str, Tensor]) -> Tensor:
        canvas = condition["canvas"]
        return torch.randn(count, 1, *canvas.shape[2:], device=canvas.device)


def colour_jitter(images: Tensor, strength: float) -> Tensor:
    """Images `(B, 3, H, W)` in [0, 1] in other cameras' colours: a gain, a gamma, and a gain per channel.

    `strength` is the standard deviation of the logarithms.

    Examples:
        >>> jittered = colour_jitter(torch.full((2, 3, 4, 4), 0.5), 0.2)
        >>> bool(((jittered >= 0) & (jittered <= 1)).all()), bool((jittered[0] != jittered[1]).any())
        (True, True)
    """
    count, device = len(images), images.device
    gain, gamma = (strength * torch.randn(2, count, 1, 1, 1, device=device)).clamp(-0.5, 0.5).exp()
    channels = (0.6 * strength * torch.randn(count, 3, 1, 1, device=device)).clamp(-0.4, 0.4).exp()
    return (images.clamp(min=1e-4) ** gamma * gain * channels).clamp(0, 1)


def ellipses(
    count: int, height: int, width: int, *, share: float, device: torch.device | str = "cpu", number: int = 3
) -> Tensor:
    """Random ellipses with half axes of 8 to 28 pixels, `(count, 1, height, width)`, 0 or 1.

    Examples:
        >>> float(ellipses(2, 32, 32, share=0.0).sum()), bool(ellipses(2, 32, 32, share=1.0).sum() > 100)
        (0.0, True)
    """
    draw = torch.rand(6, count, number, 1, 1, device=device)
    y = torch.arange(height, device=device).view(-1, 1) - draw[0] * height
    x = torch.arange(width, device=device).view(1, -1) - draw[1] * width
    cosine, sine = torch.cos(torch.pi * draw[2]), torch.sin(torch.pi * draw[2])
    along, across = (x * cosine + y * sine) / (8 + 20 * draw[3]), (y * cosine - x * sine) / (8 + 20 * draw[4])
    inside = (along.square() + across.square() < 1) & (draw[5] < share)
    return inside.any(1, keepdim=True).float()


PAINTING_CHANGES = ("remove", "redraw")
"""What is done to the lesions of a photograph: taken away, or drawn anew at the same places."""


@dataclass
class PaintedBatch:
    """Painted photographs `(B, 3, H, W)` in [0, 1] with their records."""

    image: Tensor
    records: list[GenerationRecord]


class PreparePaintingInference(PreparePaintingEvaluation):
    """Canvases of whole photographs, and what their records need.

    Args:
        change: one of `PAINTING_CHANGES`.
        margin: distance from a lesion to the edge of its hole, in pixels.

    Returns:
        `(canvas, target, (), {"grades": [...], "seeds": [...], "sources": [...]})` of a batch with the keys `grade`
        (-1 where it is not known), `seed` and `source`.

    Raises:
        ValueError: for another change.
    """

    def __init__(self, *, change: str = "remove", margin: int = 8) -> None:
        super().__init__(margin=margin)
        if change not in PAINTING_CHANGES:
            raise ValueError(f"change={change!r}: want one of {', '.join(PAINTING_CHANGES)}")
        self.change = change

    def read(  # type: ignore[override]  # a longer tuple, which MONAI's evaluators take as well
        self, batch: Mapping[str, Any], place: Place
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        canvas, target = super().read(batch, place)
        if self.change == "remove":
            canvas = torch.cat([canvas[:, :6], torch.zeros_like(canvas[:, 6:])], dim=1)
        grades, seeds = ([int(x) for x in batch[key]] for key in ("grade", "seed"))
        return canvas, target, (), {"grades": grades, "seeds": seeds, "sources": list(batch["source"])}


class PaintingInferer(SimpleInferer):
    """Fills the holes of canvases; the batch that it made last is `last_batch`, for `SaveGeneratedHandler`.

    The label of what it makes is not verified, and an eye without its lesions no longer is of the grade that its record
    names: `options["change"]` says what was done.

    Args:
        bundle: name, version and sha256 of the weights, for the records.
        change: as `PreparePaintingInference`.
    """

    def __init__(self, *, bundle: tuple[str, str, str], change: str = "remove") -> None:
        super().__init__()
        self.bundle, self.change = bundle, change
        self.last_batch: PaintedBatch | None = None

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        grain = latents_from_seeds(kwargs["seeds"], 1, *inputs.shape[2:]).to(inputs)
        drawn = ((network(inputs, grain) + 1) / 2).clamp(0, 1)
        image = torch.where(inputs[:, 4:5] > 0, drawn, inputs[:, :3])
        rows = zip(kwargs["grades"], kwargs["seeds"], kwargs["sources"], strict=True)
        records = [self._record(*row, side=inputs.shape[-1]) for row in rows]
        self.last_batch = PaintedBatch(image, records)
        return image

    def _record(self, grade: int, seed: int, source: str, *, side: int) -> GenerationRecord:
        name, version, sha256 = self.bundle
        return GenerationRecord(
            generator=name,
            version=version,
            weights_sha256=sha256,
            mode="edit",
            grade=grade,
            seed=seed,
            image_size=side,
            source=source,
            options={"change": self.change},
        )
