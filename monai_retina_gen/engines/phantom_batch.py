"""Batches of images that another generator makes, for a network that learns to make the same ones.

Among them smooth phantoms, with a start for the mapping network of a network that learns them.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor

from monai_retina_gen.engines.prepare_batch import Place, PrepareOnDevice
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.networks.layers import scaled_leaky_relu

logger = logging.getLogger(__name__)

FEW = 10
"""Factors of a plain phantom; those that join a fitted mapping are moved along as far as each of these."""


class _FromTeacher(PrepareOnDevice):
    """Latents as input, and as target what a subclass makes of the teacher's images of them."""

    def __init__(self, *, teacher: Any, update_averages: bool) -> None:
        self.teacher, self.options = teacher, {"update_averages": True} if update_averages else {}

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        latent, grade = self.teacher.latents(batch["seed"].tolist()), batch["grade"].long()
        return place(latent), place(self.target(latent, grade)), (), {"grade": place(grade), **self.options}

    @abstractmethod
    def target(self, latent: Tensor, grade: Tensor) -> Tensor:
        """What the network is to make of these latents, `(B, C, S, S)`, before it is moved to the network's device."""


class PrepareImitationBatch(_FromTeacher):
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
        super().__init__(teacher=teacher, update_averages=update_averages)
        if teacher.image_size < image_size:
            raise ValueError(
                f"teacher {teacher.name} makes images of {teacher.image_size} px, too small to learn {image_size} px of"
            )
        self.image_size = image_size

    def target(self, latent: Tensor, grade: Tensor) -> Tensor:
        return resized(self.teacher.images(latent, grade), self.image_size) * 2 - 1


class PreparePhantomBatch(_FromTeacher):
    """Latents as input, phantoms with a weight for every pixel as target: see `PrepareImitationBatch`.

    Args:
        teacher: a `PhantomGenerator`.
        lesion_weight: additional weight of a pixel that a lesion may cover, whether one does or not.
        update_averages: call the network with `update_averages=True`.

    Returns:
        `(latent, target (B, 4, S, S), (), {"grade": grade, ...})`; the target is the image in [-1, 1] and the weight,
        for `WeightedL1Loss`.
    """

    def __init__(self, *, teacher: Any, lesion_weight: float = 0.0, update_averages: bool = True) -> None:
        super().__init__(teacher=teacher, update_averages=update_averages)
        self.lesion_weight = lesion_weight

    def target(self, latent: Tensor, grade: Tensor) -> Tensor:
        image, masks = self.teacher.draw(self.teacher.factors(latent, grade))
        return torch.cat([image * 2 - 1, 1 + self.lesion_weight * masks["sites"]], dim=1)


class PreparePhantomMasks(PrepareOnDevice):
    """Smooth phantoms as input, their exact masks as target, for a segmenter.

    Args:
        teacher: a `PhantomGenerator`.
        structures: names of the masks, in order.
        blur: highest deviation in pixels of a Gaussian blur, drawn for each batch: the generator's images are softer
            than the phantoms that it learned from.

    Returns:
        `(image (B, 3, S, S) in [0, 1], masks (B, K, S, S))` of a batch with the keys `grade` and `seed`.
    """

    def __init__(self, *, teacher: Any, structures: Sequence[str], blur: float = 0.0) -> None:
        self.teacher, self.structures, self.blur = teacher, tuple(structures), blur

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor]:
        latent = self.teacher.latents(batch["seed"].tolist())
        image, masks = self.teacher.draw(self.teacher.factors(latent, batch["grade"].long()))
        if self.blur:
            sigma = max(0.05, self.blur * float(torch.rand(())))
            image = GaussianFilter(2, sigma)(image).clamp(0, 1)
        return place(image), place(torch.cat([masks[name] for name in self.structures], dim=1))


def fit_mapping(
    network: Any,
    teacher: Any,
    *,
    known: int = 0,
    steps: int = 2000,
    learning_rate: float = 1.0,
    spread: float = 0.4,
    seed: int = 0,
) -> float:
    """Fit the mapping network so that w holds the phantoms' factors, each along a direction of its own.

    From pictures alone the mapping learns slowly (its learning rate is a hundredth of the others'); the factors are
    known, so that it is fitted in seconds, and the synthesis network then learns what they look like. The latents lie
    about the network's `w_avg`, where a synthesis network that was trained before still draws eyes; with a wide spread
    the colours of a new one are learned at once and then nothing else.

    Args:
        network: a `StyleGAN3` of five grades.
        teacher: a `PhantomGenerator` with the network's `z_dim`.
        known: how many of the teacher's factors, from the first, the mapping tells apart already: w keeps them where
            they are, so that the network draws as before.
        steps: of Adam.
        learning_rate: its highest, for a mapping whose own multiplier is 0.01.
        spread: deviation of w about its mean, before the last activation.
        seed: of latents and directions; the global random state is left alone.

    Returns:
        The share of the variance that is left unexplained, on latents that were not used.
    """
    mapping, device = network.latent_mapping, network.w_avg.device
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        latent, grade = torch.randn(8192, teacher.z_dim), torch.arange(8192) % 5
        moved = _directions(teacher.factors(latent, grade)[:, known:], network.w_dim).to(device) * spread
        latent, grade = latent.to(device), grade.to(device)
        found = mapping(latent, grade).detach() if known else network.w_avg
        # Before the last activation, so that the last layer has only sums of factors to give.
        middle = found / scaled_leaky_relu(found.sign()).abs().clamp(min=1e-6)
        target = scaled_leaky_relu(middle + moved)
        optimizer = torch.optim.Adam(mapping.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
        for _ in range(steps):
            rows = torch.randint(0, 7168, (256,), device=device)
            optimizer.zero_grad()
            (mapping(latent[rows], grade[rows]) - target[rows]).square().mean().backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        rest = (mapping(latent[7168:], grade[7168:]) - target[7168:]).square().mean()
        left = rest / (target - target.mean(0)).square().mean()
    logger.info(f"mapping fitted to the phantoms' factors: {float(left):.3f} of the variance left unexplained")
    return float(left)


def _directions(factors: Tensor, w_dim: int) -> Tensor:
    """Standardised factors `(N, F)` along orthogonal directions of w, `(N, w_dim)`.

    Together they have unit variance an entry; fewer than `FEW` factors move w no farther than they would among so many.
    """
    standard = (factors - factors.mean(0)) / factors.std(0).clamp(min=1e-6)  # one that never varies stays 0
    basis = torch.linalg.qr(torch.randn(max(w_dim, standard.shape[1]), standard.shape[1]))[0][:w_dim]
    return standard @ basis.T * math.sqrt(w_dim / max(standard.shape[1], FEW))
