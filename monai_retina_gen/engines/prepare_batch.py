"""What engines read from a batch of this package's items (`image`, `grade`...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor

from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.networks.resizing import resized

__all__ = [
    "PrepareComparisonBatch",
    "PrepareGradingBatch",
    "PrepareImitationBatch",
    "PrepareReconstructionBatch",
    "PrepareSamplingBatch",
]


class PrepareGradingBatch(PrepareBatch):
    """Image and grade, for graders.

    Args:
        image_key: key of the images `(B, 3, H, W)`.
        label_key: key of the grades `(B,)`.
        augment: what the images of the batch go through on the device, as `GradingAugment`.

    Returns:
        `(image, grade)` on the device.
    """

    def __init__(
        self,
        *,
        image_key: str = "image",
        label_key: str = "grade",
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.image_key, self.label_key, self.augment = image_key, label_key, augment

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        image = plain_tensor(batchdata[self.image_key]).to(device=device, non_blocking=non_blocking)
        image = image if self.augment is None else self.augment(image)
        return image, batchdata[self.label_key].long().to(device=device, non_blocking=non_blocking)


class PrepareReconstructionBatch(PrepareBatch):
    """Image as input and target, and the grade as keyword `grade`, for autoencoders.

    Args:
        unknown_grade: index that stands for "grade unknown".
        drop_grade: share of grades replaced by it, so that the network also learns photographs without a grade.
            0 for evaluation.

    Returns:
        `(image, image, (), {"grade": grade})` on the device.
    """

    def __init__(self, *, unknown_grade: int = 5, drop_grade: float = 0.0) -> None:
        self.unknown_grade, self.drop_grade = unknown_grade, drop_grade

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Tensor]]:
        image = plain_tensor(batchdata["image"]).to(device=device, non_blocking=non_blocking)
        grade = batchdata["grade"].long().to(device=device)
        if self.drop_grade > 0:
            grade = grade.masked_fill(
                torch.rand(grade.shape, device=grade.device) < self.drop_grade, self.unknown_grade
            )
        return image, image, (), {"grade": grade}


class PrepareSamplingBatch(PrepareBatch):
    """Grades and seeds, for generators that run as evaluators.

    Returns:
        `(grade, grade, (), {"seeds": list of int})`.
    """

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, list[int]]]:
        grade = batchdata["grade"].long().to(device=device)
        return grade, grade, (), {"seeds": batchdata["seed"].tolist()}


class PrepareComparisonBatch(PrepareBatch):
    """Grades and seeds as input and photographs as target, for evaluators that compare samples with photographs.

    Args:
        samples: samples for each photograph; that of photograph i begins with seed `i * samples`.

    Returns:
        `(grade, image, (), {"seeds": list of int})`, with `samples` times as many grades and seeds as images.
    """

    def __init__(self, *, samples: int = 1) -> None:
        self.samples = samples

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, list[int]]]:
        image = plain_tensor(batchdata["image"]).to(device=device, non_blocking=non_blocking)
        grade = batchdata["grade"].long().repeat_interleave(self.samples).to(device=device)
        seeds = [int(s) * self.samples + i for s in batchdata["seed"] for i in range(self.samples)]
        return grade, image, (), {"seeds": seeds}


class PrepareImitationBatch(PrepareBatch):
    """Latents as input and another generator's images of them as target: a student learns to make the same images.

    Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531) of a generator: a regression, which gives a network
    that learns slowly by its adversarial loss, such as StyleGAN3, a start from few images.

    Args:
        teacher: a conditional generator with `latents(seeds)` and `images(latents, grades)`, such as `GANGenerator`.
        image_size: side of the targets; the teacher's images are reduced to it.
        update_averages: call the network with `update_averages=True`, as StyleGAN3 wants it while it is trained.

    Returns:
        `(latent, image in [-1, 1], (), {"grade": grade, ...})` of a batch with the keys `grade` and `seed`.

    Raises:
        ValueError: for a teacher whose images are smaller than `image_size`.
    """

    def __init__(self, *, teacher: Any, image_size: int, update_averages: bool = True) -> None:
        if teacher.image_size < image_size:
            raise ValueError(
                f"teacher {teacher.name} makes images of {teacher.image_size} px, too small to learn {image_size} px of"
            )
        self.teacher, self.image_size = teacher, image_size
        self.options = {"update_averages": True} if update_averages else {}

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        latent, grade = self.teacher.latents(batchdata["seed"].tolist()), batchdata["grade"].long()
        image = resized(self.teacher.images(latent, grade), self.image_size)
        return latent.to(device), image.to(device) * 2 - 1, (), {"grade": grade.to(device), **self.options}
