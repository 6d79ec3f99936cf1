"""What the training of a style encoder needs on MONAI's `SupervisedTrainer`: batches, the network and its loss.

Source: Richardson et al. 2021, arXiv:2008.00951, section 3.2 (pixels, perceptual distance, latents near the mean).
Generated images, whose latents are known, join the photographs (Zhu et al. 2020, arXiv:2004.00049).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.engines.prepare_batch import Place, PrepareOnDevice
from monai_retina_gen.losses.perceptual_pairing import OVERSHOOT
from monai_retina_gen.networks import latent_statistics, pinned_styles
from monai_retina_gen.networks.disc_side import flipped, mirrored_photographs


class PrepareEncoderBatch(PrepareOnDevice):
    """Photographs, and generated images with their latents.

    The generated images come from a bank that is made at first use: to encode an image is cheap, to make one is not.
    Half of them mix the latents of two eyes at a random layer, so that latents of W+ are seen as well.

    Args:
        network: the frozen `StyleGAN3`.
        generated: generated images in each batch.
        bank: size of the bank.
        teacher: a `PhantomGenerator` that draws what stands for photographs, from the key `seed`; `None` takes the key
            `image` in [0, 1].
        seed: of the bank.
        one_sided: the network draws the disc on one side only: photographs of other eyes are mirrored.

    Returns:
        `(images in [-1, 1], {"image", "latents"}, (), {})`, the photographs first; the latents are the generated ones'.
    """

    def __init__(
        self,
        *,
        network: Any,
        generated: int = 16,
        bank: int = 2000,
        teacher: Any = None,
        seed: int = 0,
        one_sided: bool = False,
    ) -> None:
        self.one_sided = one_sided
        self.network, self.generated, self.size, self.teacher = network, generated, bank, teacher
        self.random = torch.Generator().manual_seed(seed)
        self.latents = self.images = torch.empty(0)

    def read(
        self, batch: Mapping[str, Any], place: Place
    ) -> tuple[Tensor, dict[str, Tensor], tuple[()], dict[str, Any]]:
        if not len(self.latents):
            self._fill()
        if self.teacher is None:
            real = place(batch["image"]).float()
        else:
            latents = self.teacher.latents(batch["seed"].tolist())
            real = place(self.teacher.images(latents, batch["grade"].long()))
        if self.one_sided:
            real = flipped(real, mirrored_photographs(self.network, real))
        rows = torch.randint(0, self.size, (self.generated,), generator=self.random)
        images = torch.cat([real * 2 - 1, place(self.images[rows]).float()])
        return images, {"image": images, "latents": place(self.latents[rows])}, (), {}

    @torch.no_grad()
    def _fill(self) -> None:
        latents, images = [], []
        for start in range(0, self.size, 50):
            count = min(50, self.size - start)
            ws = self._draw(count)
            styles = self.network.style_space.split(self.network.style_space.flatten(pinned_styles(self.network, ws)))
            latents.append(ws.cpu())
            images.append(self.network.synthesize_from_styles(styles).clamp(-1, 1).half().cpu())
        self.latents, self.images = torch.cat(latents), torch.cat(images)

    def _draw(self, count: int) -> Tensor:
        network = self.network
        device = network.w_avg.device
        latents = torch.randn(2, count, network.z_dim, generator=self.random).to(device)
        grade = torch.randint(0, max(network.num_classes, 1), (count,), generator=self.random).to(device)
        first, second = (network.mapping(z, grade if network.num_classes else None) for z in latents)
        crossing = torch.randint(1, 2 * network.num_ws, (count, 1, 1), generator=self.random).to(device)
        layers = torch.arange(network.num_ws, device=device)[None, :, None]
        mixed: Tensor = torch.where(layers < crossing, first, second)
        return mixed


class EncoderReconstruction(nn.Module):
    """The encoder, and the frozen generator's images of what it found for the first `reconstructed` of a batch.

    Args:
        encoder: a `StyleEncoder`.
        network: the `StyleGAN3`; it is not part of this module's state.
        reconstructed: images that are made again; that is what a step costs.

    Returns:
        `{"latents": (B, num_ws, w_dim), "image": (reconstructed, 3, S, S)}`; in evaluation mode all are made again.
    """

    def __init__(self, encoder: nn.Module, network: Any, *, reconstructed: int = 6) -> None:
        super().__init__()
        self.encoder, self.reconstructed = encoder, reconstructed
        self._network = (network.eval().requires_grad_(False),)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        network = self._network[0]
        latents = self.encoder(images, network.w_avg)
        few = latents[: self.reconstructed] if self.training else latents
        return {"latents": latents, "image": network.synthesize_from_styles(pinned_styles(network, few))}


class EncoderLoss(nn.Module):
    """Pixels, perceptual distance and latents.

    `pixel * L1 + square * L2 + perceptual * distance` of the reconstructed images, `known` times the squared error of
    the generated images' latents, and `regular` times the squared distance of all others' from the mean latent; both in
    units of the variance of w.

    Args:
        distance: from pairs in [0, 1] to `(B,)`, such as `LPIPSDR`.
        network: the `StyleGAN3`, for mean and variance of w.
        pixel: factor of the absolute error in [-1, 1].
        square: factor of the squared error.
        perceptual: factor of the distance.
        known: factor of the known latents' error.
        regular: factor of the latents' distance from their mean.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        distance: nn.Module,
        network: Any,
        *,
        pixel: float = 1.0,
        square: float = 1.0,
        perceptual: float = 0.5,
        known: float = 1.0,
        regular: float = 0.005,
    ) -> None:
        super().__init__()
        self.distance = distance
        self.pixel, self.square, self.perceptual = pixel, square, perceptual
        self.known, self.regular = known, regular
        means, spread, _ = latent_statistics(network)
        self.register_buffer("mean", means.mean(0))
        self.register_buffer("variance", spread.square() / means.shape[1])

    def forward(self, preds: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        made, wanted = preds["image"], target["image"][: len(preds["image"])]
        pixels = self.pixel * (made - wanted).abs().mean() + self.square * (made - wanted).square().mean()
        seen = ((made + 1) / 2).clamp(-OVERSHOOT, 1 + OVERSHOOT)
        total: Tensor = pixels + self.perceptual * self.distance(seen, ((wanted + 1) / 2).clamp(0, 1)).mean()
        known = target["latents"]
        real, generated = preds["latents"].split([len(preds["latents"]) - len(known), len(known)])
        if len(known):
            total = total + self.known * (generated - known).square().mean() / self.variance
        if len(real):
            total = total + self.regular * (real - self.mean).square().mean() / self.variance
        return total
