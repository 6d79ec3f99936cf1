"""Inversion by a trained encoder and a few steps of refinement: what edits inside a training loop can afford.

Sources: Richardson et al. 2021, arXiv:2008.00951 (encoder to W+); Alaluf et al. 2021, arXiv:2104.02699 (an encoder's
guess is improved in a few steps).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.editing.edit_request import check_range
from monai_retina_gen.editing.style.inversion import (
    SPACES,
    Inversion,
    InversionError,
    StyleParameters,
    invert_styles,
    joined,
)
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks import latent_statistics
from monai_retina_gen.networks.style_encoder import flipped, mean_eye, mirrored_photographs


class EncoderInversion(nn.Module):
    """Styles of photographs: the encoder's latents, then `steps` of Adam on them, for each photograph on its own.

    Args:
        network: the trained `StyleGAN3`; the input's rotation and translation are held at the mean's.
        encoder: the `StyleEncoder` that was trained with it.
        distance: from pairs `(B, 3, S, S)` in [0, 1] to `(B,)`, such as `LPIPSDR`.
        steps: refinement steps; 0 takes the encoder's latents.
        space: `w+` moves the latents, `s` the latents and, in units of its deviation, every style.
        learning_rate: Adam's highest; it falls along a cosine.
        pixel_weight: factor of the mean squared error of pixels.
        perceptual_weight: factor of the distance.
        offset_weight: factor of the mean squared style offset, in deviations.
        batch_size: photographs at a time.
        start: `w+`, or `w`: begin at the mean of the encoder's latents over the layers. Farther from the photograph,
            but where the network's samples lie: edits do more there (Tov et al. 2021, arXiv:2102.02766).
        one_sided: the network draws the disc on one side only: photographs of other eyes are mirrored first.
        detail_encoder: the `DetailEncoder` that was trained with the network; `None` for a network without.

    Shape:
        - images: `(B, 3, S, S)` in [0, 1]; grades: `(B,)` (not used: the encoder looks at the photograph alone).

    Raises:
        ValueError: for another space or a negative number of steps.
        ImageValueError: for images of another side or range.

    Examples:
        >>> from monai_retina_gen.losses import LPIPSDR
        >>> from monai_retina_gen.networks import FundusGrader, StyleEncoder, StyleGAN3
        >>> network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
        >>> encoder = StyleEncoder(w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=16)
        >>> distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2))
        >>> invert = EncoderInversion(network, encoder, distance=distance, steps=2)
        >>> found = invert(torch.rand(2, 3, 32, 32), torch.tensor([0, 4]))
        >>> found.styles.shape, found.image.shape
        (torch.Size([2, 124]), torch.Size([2, 3, 32, 32]))
    """

    sigma: Tensor
    mean: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        encoder: nn.Module,
        *,
        distance: nn.Module,
        steps: int = 15,
        space: str = "s",
        learning_rate: float = 0.01,
        pixel_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        offset_weight: float = 0.01,
        batch_size: int = 16,
        start: str = "w+",
        one_sided: bool = False,
        detail_encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if space not in SPACES[1:] or start not in SPACES[:2] or steps < 0:
            raise ValueError(
                f"space must be w+ or s, start w or w+ and steps at least 0, got {space!r}, {start!r} and {steps}"
            )
        # Not registered: the network belongs to the generator, which moves it.
        self._network: tuple[Any] = (network,)
        self.encoder = encoder.eval().requires_grad_(False)
        self.detail_encoder = None if detail_encoder is None else detail_encoder.eval().requires_grad_(False)
        self.error = InversionError(distance, pixel_weight=pixel_weight, perceptual_weight=perceptual_weight)
        self.steps, self.space, self.start, self.learning_rate = steps, space, start, learning_rate
        self.offset_weight, self.batch_size, self.one_sided = offset_weight, batch_size, one_sided
        self.register_buffer("sigma", latent_statistics(network)[2].cpu(), persistent=False)
        self.register_buffer("mean", mean_eye(network).cpu() if one_sided else None, persistent=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What, beside the weights, an inversion depends on."""
        names = ("steps", "space", "learning_rate", "offset_weight", "start", "one_sided")
        weights = {"pixel_weight": self.error.pixel_weight, "perceptual_weight": self.error.perceptual_weight}
        return {"method": "encoder", **{name: getattr(self, name) for name in names}, **weights}

    def forward(self, images: Tensor, grades: Tensor) -> Inversion:
        network = self._network[0]
        images = check_photographs(images, network, grades)
        mirrored = mirrored_photographs(network, images, self.mean) if self.one_sided else None
        images = flipped(images, mirrored)
        with torch.inference_mode(False):  # tensors of inference mode know no gradients
            parts = [self._invert(part) for part in images.clone().split(self.batch_size)]
        return joined(parts, mirrored)

    def _invert(self, images: Tensor) -> Inversion:
        network = self._network[0]
        with torch.no_grad():
            ws = self.encoder(images * 2 - 1, network.w_avg)
            ws = ws.mean(1, keepdim=True).expand_as(ws) if self.start == "w" else ws
            detail = None if self.detail_encoder is None else self.detail_encoder(images * 2 - 1)
        sigma = self.sigma.to(ws)
        start = StyleParameters(network, ws.clone(), sigma, ws.new_zeros(len(ws), len(sigma)), detail=detail)
        rates = [self.learning_rate * (0.5 + 0.5 * math.cos(math.pi * i / self.steps)) for i in range(self.steps)]
        return invert_styles(start, images, self.error, space=self.space, rates=rates, offset_weight=self.offset_weight)


def check_photographs(images: Tensor, network: Any, grades: Tensor) -> Tensor:
    """Photographs as float32 on the network's device; `ImageValueError` for another side, range or number."""
    side = network.image_size
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, side, side) or not 0 < len(images) == len(grades):
        raise ImageValueError(
            f"images {tuple(images.shape)} with {len(grades)} grades came, wanted (B, 3, {side}, {side}) and B grades, "
            "B at least 1"
        )
    images = images.to(network.w_avg.device, torch.float32)
    check_range(images)
    return images
