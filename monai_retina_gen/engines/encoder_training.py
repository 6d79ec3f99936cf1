"""What the training of a style encoder needs: batches, the network and its loss, alone and together with a StyleGAN3.

Source: Richardson et al. 2021, arXiv:2008.00951, section 3.2 (pixels, perceptual distance, latents near the mean).
Generated images, whose latents are known, join the photographs (Zhu et al. 2020, arXiv:2004.00049).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from monai_retina_gen.engines.prepare_batch import Place, PrepareOnDevice
from monai_retina_gen.losses.perceptual_pairing import OVERSHOOT
from monai_retina_gen.networks import latent_statistics, pinned_styles
from monai_retina_gen.networks.style_encoder import flipped, mirrored_photographs


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

    The network is no part of the state. What is made again is what a step costs; in evaluation mode all are.

    Returns:
        `{"latents": (B, num_ws, w_dim), "image": (reconstructed, 3, S, S)}`.
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

    `pixel * L1 + square * L2 + perceptual * distance` of the reconstructed images in [-1, 1], `known` times the squared
    error of the generated images' latents, and `regular` times the squared distance of all others' from the mean
    latent; both in units of the variance of w.

    Args:
        distance: from pairs in [0, 1] to `(B,)`, such as `LPIPSDR`.
        network: the `StyleGAN3`, for mean and variance of w.
        pixel: factor, as `square`, `perceptual`, `known` and `regular`.
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


class PrepareVersionsBatch(PrepareOnDevice):
    """Each eye twice, with its lesions at two strengths: real images, and what `StyleAutoencoder` makes them of.

    A version with lesions is the clean eye and what they change; changes of several versions are added, each times an
    amount. `eye`, from which detail is read, shows where lesions are; the photograph, from which styles are read and
    which is to be drawn, how strong they are: so styles learn amounts, and detail learns places.

    Both are mirrored, turned and enlarged alike. What is drawn depends on the random state of the device alone.

    Args:
        photographs: rows of a batch that are reconstructed; `None` for all.
        shown: share of the versions whose lesions are shown.
        faintest: smallest amount in the eye that detail is read from; the largest is 1.
        strongest: largest amount in the photograph that is drawn.
        equal: share of rows in which both show the same.
        mirror: share of eyes that are mirrored: a left eye is a right one in the mirror.
        turned: share of eyes that are turned and enlarged.
        degrees: largest angle.
        zoom: largest change of size.
        supervised: give what `SupervisedTrainer` takes: `(photograph, {"image", "eye"}, (eye,), {})`.

    Returns:
        `(real (B, 3, S, S) in [-1, 1], {"grade": (B,), "photograph": (N, 3, S, S), "eye": (N, 3, S, S)})`.

    Examples:
        >>> batch = {"versions": torch.zeros(3, 4, 3, 8, 8, dtype=torch.uint8), "grades": torch.zeros(3, 4).long()}
        >>> real, condition = PrepareVersionsBatch(photographs=2)(batch, "cpu")
        >>> real.shape, condition["eye"].shape, condition["grade"].shape
        (torch.Size([3, 3, 8, 8]), torch.Size([2, 3, 8, 8]), torch.Size([3]))
    """

    def __init__(
        self,
        *,
        photographs: int | None = None,
        shown: float = 0.35,
        faintest: float = 0.4,
        strongest: float = 1.4,
        equal: float = 0.3,
        mirror: float = 0.5,
        turned: float = 0.5,
        degrees: float = 10.0,
        zoom: float = 0.04,
        supervised: bool = False,
    ) -> None:
        self.photographs, self.shown, self.supervised = photographs, shown, supervised
        self.faintest, self.strongest, self.equal = faintest, strongest, equal
        self.mirror, self.turned, self.degrees, self.zoom = mirror, turned, degrees, zoom

    def read(self, batch: Mapping[str, Any], place: Place) -> Any:
        stacks, grades = place(batch["versions"]), place(batch["grades"])
        amounts, most = self._amounts(len(stacks), stacks.shape[1] - 1, stacks.device)
        images = stacks.float() / 255
        change = images[:, 1:] - images[:, :1]
        views = [images[:, 0] + torch.einsum("bv,bvchw->bchw", each, change) for each in amounts]
        first, second = self._moved(torch.cat(views, dim=1).clamp(0, 1)).mul(2).sub(1).chunk(2, dim=1)
        if self.supervised:
            return first, {"image": first, "eye": second}, (second,), {}
        grade = grades.gather(1, most[:, None])[:, 0].long()
        few = slice(self.photographs)
        return first, {"grade": grade, "photograph": first[few], "eye": second[few]}

    def _amounts(self, rows: int, count: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Amounts `(B, V - 1)` of each version in photograph and eye, and which shows most; 0 for the clean eye."""
        shown = (torch.rand(rows, count, device=device) < self.shown).float()
        eye = shown * (self.faintest + (1 - self.faintest) * torch.rand(rows, count, device=device))
        drawn = shown * self.strongest * torch.rand(rows, count, device=device)
        photograph = torch.where(torch.rand(rows, 1, device=device) < self.equal, eye, drawn)
        largest, index = photograph.max(1)
        return (photograph, eye), torch.where(largest > 0, index + 1, 0)

    def _moved(self, images: Tensor) -> Tensor:
        """Mirrored, turned and enlarged; black comes from outside, and what is not turned stays sharp."""
        draw = torch.rand(4, len(images), device=images.device)
        on = (draw[0] < self.turned).float()
        angle = (draw[1] * 2 - 1) * on * math.radians(self.degrees)
        scale = 1 + (draw[2] * 2 - 1) * on * self.zoom
        flip = torch.where(draw[3] < self.mirror, -1.0, 1.0)
        zero = torch.zeros_like(angle)
        rows = [angle.cos() * scale * flip, -angle.sin() * scale, zero, angle.sin() * scale * flip]
        matrix = torch.stack([*rows, angle.cos() * scale, zero], dim=1).view(-1, 2, 3)
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, mode="bicubic", align_corners=False).clamp(0, 1)


class VersionsInferer(Inferer):
    """`network.reconstruct(photograph, eye)`, for trainers of a `StyleAutoencoder`."""

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        made: Tensor = network.reconstruct(inputs, *args, **kwargs)  # type: ignore[operator]
        return made
