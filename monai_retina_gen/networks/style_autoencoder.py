"""A StyleGAN3 with its encoders as one network, for training them together.

Source: Zhao et al. 2023 compare photographs with generated images; here with `G(E(x))`, so that photographs can be
inverted by construction. What the styles say and what the detail says are told apart by what they are read from: two
versions of one eye that show different lesions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.stylegan3_style_space import pinned_styles

__all__ = ["StyleAutoencoder"]


class StyleAutoencoder(nn.Module):
    """Draws photographs again, and samples, in one pass.

    Args:
        generator: a `StyleGAN3`.
        encoder: its `StyleEncoder`.
        detail_encoder: its `DetailEncoder`.
        detail_share: share of the photographs that are drawn with their detail; the others have their styles alone.

    Shape:
        - latent: `(B, z_dim)`; grade: `(B,)` or `None`.
        - photograph: `(N, 3, S, S)` in [-1, 1], N at most B: the first N images are drawn from their styles, the
          others from the latents. `None` for none.
        - eye: `(N, 3, S, S)`, the same eyes, perhaps with other lesions: detail is read from them.
        - output: `(B, 3, S, S)`.

    Examples:
        >>> from monai_retina_gen.networks import DetailEncoder, StyleEncoder, StyleGAN3
        >>> generator = StyleGAN3(image_size=64, z_dim=8, w_dim=8, channel_base=256, channel_max=8)
        >>> encoder = StyleEncoder(w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=16)
        >>> both = StyleAutoencoder(generator, encoder, DetailEncoder.of(generator, width=8, bottleneck=4))
        >>> both(torch.randn(3, 8), photograph=torch.zeros(2, 3, 64, 64), eye=torch.zeros(2, 3, 64, 64)).shape
        torch.Size([3, 3, 64, 64])
    """

    def __init__(
        self, generator: nn.Module, encoder: nn.Module, detail_encoder: nn.Module, *, detail_share: float = 0.75
    ) -> None:
        super().__init__()
        self.generator: Any = generator
        self.encoder, self.detail_encoder = encoder, detail_encoder
        self.detail_share = detail_share
        self.latent_dim, self.latent_distribution = self.generator.latent_dim, self.generator.latent_distribution

    def forward(
        self,
        latent: Tensor,
        grade: Tensor | None = None,
        photograph: Tensor | None = None,
        eye: Tensor | None = None,
        update_averages: bool = False,
    ) -> Tensor:
        network, count = self.generator, 0 if photograph is None else len(photograph)
        ws = network.mapping(latent[count:], None if grade is None else grade[count:], update_averages=update_averages)
        styles, detail = network.styles(ws), None
        if photograph is not None and eye is not None:
            own, detail = self.encode(photograph, eye)
            styles = [torch.cat(pair) for pair in zip(own, styles, strict=True)]
            shown = int(self.detail_share * count + 0.5)
            detail = nn.functional.pad(detail[:shown], [0, 0, 0, 0, 0, 0, 0, len(latent) - shown])
        image: Tensor = network.synthesis.run(styles, detail=detail, update_averages=update_averages)
        return image

    def encode(self, photograph: Tensor, eye: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Style list and detail of photographs in [-1, 1]; detail of `eye` where it is given."""
        ws = self.encoder(photograph, self.generator.w_avg)
        return pinned_styles(self.generator, ws), self.detail_encoder(photograph if eye is None else eye)

    def reconstruct(self, photograph: Tensor, eye: Tensor | None = None, *, detail: bool = True) -> Tensor:
        """Photographs `(B, 3, S, S)` in [-1, 1] drawn again, with detail (of `eye`, where it is given) or without."""
        styles, own = self.encode(photograph, eye)
        image: Tensor = self.generator.synthesize_from_styles(styles, detail=own if detail else None)
        return image
