"""Running the painter of lesions inside a MONAI evaluator: lesions are taken away, or drawn anew at their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.engines.painting_batch import PreparePaintingEvaluation
from monai_retina_gen.engines.prepare_batch import Place

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
        grain = [torch.randn(1, *inputs.shape[2:], generator=_generator(seed)) for seed in kwargs["seeds"]]
        drawn = ((network(inputs, torch.stack(grain).to(inputs)) + 1) / 2).clamp(0, 1)
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


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed))
