"""What engines read from a batch of this package's items (`image`, `grade`...), on their device, and augment there."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor, nn

from monai_retina_gen.data.plain_tensor import plain_tensor

LUMA = (0.299, 0.587, 0.114)


class GradingAugment(nn.Module):
    """Flips, turns, scales, shifts and recolours each image by its own draw; black stays black.

    MONAI's and torchvision's random transforms draw once for what they are given: image by image they take several
    times as long as a step of a small network, and a batch at once would get one angle.

    All operations together on every image ("mixed"): flips with a probability of one half each, the others uniformly
    within their range. Drawn from torch's global state on the CPU, so that devices agree.

    Args:
        flip: mirror images, across and down.
        rotate: largest angle in degrees, either way.
        scale: largest change of the size, as a share.
        shift: largest shift, as a share of the side.
        colour: largest change of brightness, of contrast (an exponent) and of saturation, as a share.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1]; output alike, on the same device; what comes from outside is black.

    Raises:
        ValueError: for a range outside its limits.

    Examples:
        >>> augment = GradingAugment()
        >>> augment(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self, *, flip: bool = True, rotate: float = 30.0, scale: float = 0.1, shift: float = 0.04, colour: float = 0.2
    ) -> None:
        super().__init__()
        if not (0 <= rotate <= 180 and all(0 <= share < 1 for share in (scale, shift, colour))):
            raise ValueError(
                f"rotate={rotate}, scale={scale}, shift={shift}, colour={colour}: want degrees up to 180, and shares "
                "from 0 to below 1"
            )
        self.flip, self.rotate, self.scale, self.shift, self.colour = flip, rotate, scale, shift, colour

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        flips = torch.randint(0, 2, (2, len(image))) * 2.0 - 1
        flips = flips if self.flip else flips.abs()
        draws = torch.cat([flips, torch.rand(7, len(image)) * 2 - 1]).to(image.device)
        return self._recolour(self._move(image, draws), draws[6:])

    def _move(self, image: Tensor, draws: Tensor) -> Tensor:
        angle = draws[2] * math.radians(self.rotate)
        zoom = torch.exp(draws[3] * math.log1p(self.scale))
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        across = torch.stack([cos * draws[0], -sin * draws[1], 2 * self.shift * draws[4]], 1)
        down = torch.stack([sin * draws[0], cos * draws[1], 2 * self.shift * draws[5]], 1)
        grid = nn.functional.affine_grid(torch.stack([across, down], 1), list(image.shape), align_corners=False)
        return nn.functional.grid_sample(image, grid.to(image.dtype), align_corners=False)

    def _recolour(self, image: Tensor, draws: Tensor) -> Tensor:
        brightness, exponent, saturation = (1 + self.colour * draws)[:, :, None, None, None]
        image = (image * brightness).clamp(0, 1) ** exponent
        grey = (image * image.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        return (grey + (image - grey) * saturation).clamp(0, 1)


Place = Callable[[Any], Tensor]
"""Brings an array, a tensor or a `MetaTensor` to the engine's device, as an ordinary tensor."""


class PrepareOnDevice(PrepareBatch):
    """Base of what engines read from a batch: a subclass says in `read` what it takes, and brings it to the device."""

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        def place(values: Any) -> Tensor:
            return plain_tensor(values).to(device=device, non_blocking=non_blocking)

        return self.read(batchdata, place)

    @abstractmethod
    def read(self, batch: Mapping[str, Any], place: Place) -> Any:
        """What the class's docstring says, from a batch of items."""


class PrepareAdversarialBatch(PrepareOnDevice):
    """Real images and conditions.

    Args:
        image_key: key of the images `(B, 3, H, W)` in [0, 1].
        condition_keys: keys passed on to both networks under their own names, such as `("grade",)` or masks; empty
            for unconditional networks. Whole numbers become int64, others float32.
        unknown_grade: label that stands for "grade unknown".
        drop_grade: share of grades replaced by it, so that the networks also learn images without a grade.

    Returns:
        `(real, condition)` on the device, `real` in [-1, 1].
    """

    def __init__(
        self,
        *,
        image_key: str = "image",
        condition_keys: Sequence[str] = ("grade",),
        unknown_grade: int = 5,
        drop_grade: float = 0.0,
    ) -> None:
        self.image_key, self.condition_keys = image_key, tuple(condition_keys)
        self.unknown_grade, self.drop_grade = unknown_grade, drop_grade

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        condition = {key: place(self._condition(key, batch[key])) for key in self.condition_keys}
        return place(batch[self.image_key]).float() * 2 - 1, condition

    def _condition(self, key: str, value: Any) -> Tensor:
        value = plain_tensor(value)
        value = value.float() if value.is_floating_point() else value.long()
        return _partly_unknown(value, self.drop_grade, self.unknown_grade) if key == "grade" else value


def _partly_unknown(grade: Tensor, share: float, unknown: int) -> Tensor:
    if share <= 0:
        return grade
    return grade.masked_fill(torch.rand(grade.shape, device=grade.device) < share, unknown)


class PrepareGradingBatch(PrepareOnDevice):
    """Image and grade, `(image, grade)`, for graders.

    Args:
        image_key: key of the images `(B, 3, H, W)`.
        label_key: key of the grades `(B,)`.
        augment: what the images of the batch go through on the device, as `GradingAugment`.
    """

    def __init__(
        self, *, image_key: str = "image", label_key: str = "grade", augment: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.image_key, self.label_key, self.augment = image_key, label_key, augment

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor]:
        image = place(batch[self.image_key])
        return image if self.augment is None else self.augment(image), place(batch[self.label_key]).long()


class PrepareReconstructionBatch(PrepareOnDevice):
    """Image as input and target, and the grade as keyword, `(image, image, (), {"grade": grade})`, for autoencoders.

    Args:
        unknown_grade: index that stands for "grade unknown".
        drop_grade: share of grades replaced by it, so that the network also learns photographs without a grade.
            0 for evaluation.
    """

    def __init__(self, *, unknown_grade: int = 5, drop_grade: float = 0.0) -> None:
        self.unknown_grade, self.drop_grade = unknown_grade, drop_grade

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor, tuple[()], dict[str, Tensor]]:
        image, grade = place(batch["image"]), place(batch["grade"]).long()
        return image, image, (), {"grade": _partly_unknown(grade, self.drop_grade, self.unknown_grade)}


class PrepareSamplingBatch(PrepareOnDevice):
    """Grades and seeds, `(grade, grade, (), {"seeds": list of int})`, for generators that run as evaluators."""

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor, tuple[()], dict[str, list[int]]]:
        grade = place(batch["grade"]).long()
        return grade, grade, (), {"seeds": batch["seed"].tolist()}


class PrepareComparisonBatch(PrepareOnDevice):
    """Grades and seeds as input and photographs as target, for evaluators that compare samples with photographs.

    Args:
        samples: samples for each photograph; that of photograph i begins with seed `i * samples`.

    Returns:
        `(grade, image, (), {"seeds": list of int})`, with `samples` times as many grades and seeds as images.
    """

    def __init__(self, *, samples: int = 1) -> None:
        self.samples = samples

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor, tuple[()], dict[str, list[int]]]:
        grade = place(batch["grade"]).long().repeat_interleave(self.samples)
        seeds = [int(s) * self.samples + i for s in batch["seed"] for i in range(self.samples)]
        return grade, place(batch["image"]), (), {"seeds": seeds}
