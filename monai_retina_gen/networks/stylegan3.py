"""StyleGAN3, configurations T and R, unconditional or conditional on the grade.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.networks.equalized_linear import LatentMapping
from monai_retina_gen.networks.filtered_leaky_relu import FilteredLeakyReLU
from monai_retina_gen.networks.stylegan3_style_space import StyleSpace
from monai_retina_gen.networks.stylegan3_synthesis import StyleGAN3Synthesis

__all__ = ["StyleGAN3"]


class StyleGAN3(nn.Module):
    """Alias-free generator: details move with what they belong to, instead of sticking to the pixels.

    Args:
        image_size: side of the images, a power of two of at least 32.
        config: "t", equivariant to translation, or "r", to rotation as well.
        z_dim: size of the latent.
        w_dim: size of the intermediate latent.
        num_classes: number of grades; 0 makes it unconditional.
        channel_base: channels are `channel_base / 2 / cutoff frequency`. The paper's R has twice T's: 65536.
        channel_max: upper limit of the channels. The paper's R has 1024.
        mapping_layers: fully connected layers of the mapping network.
        conv_clamp: limit of the absolute values of each layer's output; `None` for no limit.
        magnitude_beta: decay of the running mean square of each layer's input a training pass;
            `0.5 ** (batch_size / 20000)` in the paper.
        w_avg_beta: decay of the running mean of w a training pass.
        amp: precision of the layers whose sampling rate is above `image_size / 16`: `None` is float32, "conv"
            convolves in bfloat16, "full" filters and keeps the maps in bfloat16 as well.

    Shape:
        - latent: `(B, z_dim)` standard normal; grade: `(B,)` integers, `num_classes` for "unknown", or `None`.
        - output: `(B, 3, image_size, image_size)`, RGB, -1..1 by convention, unclamped.

    Raises:
        ValueError: for a size, configuration or precision that there is not.

    Examples:
        >>> network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
        >>> latent, grade = torch.randn(2, 8), torch.tensor([0, 4])
        >>> network(latent, grade, truncation=0.7).shape
        torch.Size([2, 3, 32, 32])
        >>> styles = network.styles(network.mapping(latent, grade))
        >>> network.style_space.size, network.style_space.flatten(styles).shape
        (124, torch.Size([2, 124]))
    """

    latent_distribution = "normal"
    w_avg: Tensor
    __jit_unused_properties__ = ["style_space"]  # noqa: RUF012

    def __init__(
        self,
        *,
        image_size: int = 256,
        config: str = "t",
        z_dim: int = 512,
        w_dim: int = 512,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 2,
        conv_clamp: float | None = 256.0,
        magnitude_beta: float = 0.999,
        w_avg_beta: float = 0.998,
        amp: str | None = None,
    ) -> None:
        super().__init__()
        self.image_size = check_whole("image_size", image_size)
        self.z_dim, self.w_dim, self.num_classes = z_dim, w_dim, num_classes
        self.w_avg_beta = w_avg_beta
        self.latent_mapping = LatentMapping(
            z_dim=z_dim, w_dim=w_dim, num_classes=num_classes, num_layers=mapping_layers
        )
        self.synthesis = StyleGAN3Synthesis(
            image_size=image_size,
            config=config,
            w_dim=w_dim,
            channel_base=channel_base,
            channel_max=channel_max,
            conv_clamp=conv_clamp,
            magnitude_beta=magnitude_beta,
            amp=amp,
        )
        self.num_ws = self.synthesis.num_ws
        self.register_buffer("w_avg", torch.zeros(w_dim))

    @property
    def latent_dim(self) -> int:
        """`z_dim` under the name that all generators share."""
        return self.z_dim

    @property
    def conditional(self) -> bool:
        """Whether the images depend on a grade."""
        return self.num_classes > 0

    @property
    def style_space(self) -> StyleSpace:
        """Size of the style space, and where each of its channels lies."""
        return self.synthesis.style_space

    def use_plain_operators(self, plain: bool = True) -> None:
        """Filter by PyTorch's own operators: slower, but `torch.func` and forward mode see through them."""
        for module in self.modules():
            if isinstance(module, FilteredLeakyReLU):
                module.plain = plain

    def mapping(
        self,
        latent: Tensor,
        grade: Tensor | None = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        update_averages: bool = False,
    ) -> Tensor:
        """Intermediate latents `(B, num_ws, w_dim)`.

        Args:
            latent: `(B, z_dim)`.
            grade: `(B,)` integers, or `None` if unconditional or unknown.
            truncation: share of the distance from the mean latent that is kept: 1 is the full variety, 0 the mean.
            truncation_cutoff: only the first so many of the `num_ws` latents are truncated; `None` for all.
            update_averages: in training mode, update the running mean of w.
        """
        w = self.latent_mapping(latent, grade)
        if update_averages and self.training:
            with torch.no_grad():
                self.w_avg.lerp_(w.mean(0).to(self.w_avg), 1 - self.w_avg_beta)
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if truncation == 1.0:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        if not 0 <= cutoff <= self.num_ws:
            raise ValueError(f"truncation_cutoff must lie in 0..{self.num_ws}, got {cutoff}")
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], truncation), ws[:, cutoff:]], dim=1)

    def mix_styles(self, ws: Tensor, other: Tensor, *, layers: Iterable[int]) -> Tensor:
        """`ws` with the latents of `layers` taken from `other`; both `(B, num_ws, w_dim)`."""
        mixed = ws.clone()
        for layer in layers:
            if not 0 <= layer < self.num_ws:
                raise ValueError(f"layers must lie in 0..{self.num_ws - 1}, got {layer}")
            mixed[:, layer] = other[:, layer]
        return mixed

    def styles(self, ws: Tensor) -> list[Tensor]:
        """Style vectors `(B, channels)` of the input layer, layers 0 to 13 and toRGB."""
        return self.synthesis.styles(ws)

    def synthesize_from_styles(
        self, styles: list[Tensor], *, transform: Tensor | None = None, detail: Tensor | None = None
    ) -> Tensor:
        """Images for a style list.

        Args:
            styles: as `styles` gives them.
            transform: inverse of a transform of the image, `(3, 3)` or `(B, 3, 3)`, in units of the image's side;
                by default the buffer `synthesis.input.transform`.
            detail: what a `DetailEncoder` saw in a photograph, for its reconstruction.
        """
        return self.synthesis.run(styles, transform=transform, detail=detail)

    def forward(
        self,
        latent: Tensor,
        grade: Tensor | None = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        update_averages: bool = False,
    ) -> Tensor:
        ws = self.mapping(
            latent,
            grade,
            truncation=truncation,
            truncation_cutoff=truncation_cutoff,
            update_averages=update_averages,
        )
        return self.synthesis(ws, update_averages=update_averages)
