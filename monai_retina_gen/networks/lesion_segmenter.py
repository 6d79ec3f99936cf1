"""Segmenters of lesions, optic disc and vessels, with one sigmoid channel a structure.

Sources: U-Net, Ronneberger et al. 2015, in the form of nnU-Net (Isensee et al. 2021) with deep supervision, which is
MONAI's `DynUNet`, and around an EfficientNet-Lite (Tan and Le 2019), whose features ImageNet taught; prior of the
output bias after Lin et al. 2017, section 3.3.
"""

import copy
import math
from collections.abc import Sequence

import torch
from monai.networks.nets.dynunet import DynUNet, DynUNetSkipLayer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_retina_gen.data.names import STRUCTURES
from monai_retina_gen.networks.efficientnet_lite import EfficientNetLite
from monai_retina_gen.networks.inputs import register_imagenet_colours
from monai_retina_gen.networks.layers import convolution

PRIOR_BIAS = -math.log((1 - 0.01) / 0.01)
"""Lesions cover a thousandth of a photograph: from sigmoid(0) the first steps would only unlearn them."""

FINEST = 24
"""Channels of a `LiteSegmenter` at the full resolution."""

SKIPS = ["stride16", "stride8", "stride4", "stride2"]
"""Layers of its encoder that its decoder reads, from coarse to fine."""


class LesionSegmenter(nn.Module):
    """Logits of masks by MONAI's `DynUNet`; structures may overlap, so that each has its own sigmoid.

    Args:
        structures: names of the output channels.
        channels: width of every resolution; each halves the size of the one before.
        deep_supervision: lower resolutions that also predict while training; 0 for none.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1], H and W multiples of `2 ** (len(channels) - 1)`; the normalisation with
          ImageNet's mean and deviation is inside.
        - output: logits `(B, structures, H, W)`; in training mode with deep supervision
          `(B, 1 + deep_supervision, structures, H, W)`, the full resolution first.

    Raises:
        ValueError: for fewer than three widths, more supervised resolutions than there are, or another image size.

    Examples:
        >>> network = LesionSegmenter(channels=(4, 8, 8)).eval()
        >>> network(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 6, 32, 48])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        structures: Sequence[str] = STRUCTURES,
        channels: Sequence[int] = (24, 48, 96, 160, 224),
        deep_supervision: int = 1,
    ) -> None:
        super().__init__()
        levels = len(channels)
        if levels < 3 or not 0 <= deep_supervision <= levels - 2:
            raise ValueError(
                f"channels={tuple(channels)}, deep_supervision={deep_supervision}: want at least three widths, and "
                f"from 0 to {max(levels - 2, 0)} supervised resolutions"
            )
        self.structures, self.stride = tuple(structures), 2 ** (levels - 1)
        self.network = DynUNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=len(self.structures),
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=list(channels),
            norm_name="batch",  # statistics of whole photographs, not of the crop, decide what is pale or dark
            deep_supervision=deep_supervision > 0,
            deep_supr_num=max(deep_supervision, 1),
        )
        self._start_from_prior()
        register_imagenet_colours(self)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-1] % self.stride or image.shape[-2] % self.stride:
            raise ValueError(
                f"image has size {list(image.shape[-2:])}: height and width must be multiples of {self.stride}"
            )
        logits = self.network((image - self.mean) / self.std)
        if not torch.jit.is_scripting():  # DynUNet would keep its last graph
            self.network.heads[:] = [image.new_zeros(1)] * len(self.network.heads)
        return logits

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script` compiles: the network as it evaluates. It cannot read DynUNet's lower resolutions."""
        plain = copy.deepcopy(self)
        plain.network.deep_supervision = False
        for layer in plain.network.modules():
            if isinstance(layer, DynUNetSkipLayer):
                layer.super_head = layer.heads = None
        return plain

    def _start_from_prior(self) -> None:
        for name, module in self.network.named_modules():
            output = name.startswith(("output_block", "deep_supervision_heads"))
            if output and isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.constant_(module.bias, PRIOR_BIAS)


class LiteSegmenter(nn.Module):
    """Logits of masks by a U-Net around an EfficientNet-Lite; structures may overlap: each has its own sigmoid.

    Args:
        structures: names of the output channels.
        variant: of the encoder, see `EfficientNetLite`; it starts from random weights.
        channels: widths of the decoder at the encoder's strides 16, 8, 4 and 2; the full resolution has 24.
        enlarge: give the encoder the photograph at twice its size, so that its first features have a pixel's
            resolution: a microaneurysm is two or three pixels wide. Four times the work in the encoder.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1], any size from 32; the normalisation is inside.
        - output: logits `(B, structures, H, W)`.

    Raises:
        ValueError: for another number of widths.

    Examples:
        >>> LiteSegmenter(structures=["ma", "ex"]).eval()(torch.rand(1, 3, 64, 80)).shape
        torch.Size([1, 2, 64, 80])
    """

    def __init__(
        self,
        *,
        structures: Sequence[str] = STRUCTURES,
        variant: str = "lite0",
        channels: Sequence[int] = (128, 96, 64, 32),
        enlarge: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(SKIPS):
            raise ValueError(f"channels={tuple(channels)}: four widths are wanted, from the coarsest to the finest")
        self.structures, self.enlarge, self.skips = tuple(structures), enlarge, list(SKIPS)
        self.encoder = EfficientNetLite(variant=variant)
        self.encoder.network.conv_head, self.encoder.network.bn2 = nn.Identity(), nn.Identity()  # a classifier's
        finest = [] if enlarge else [FINEST]
        beside, widths = [self.encoder.channels[name] for name in SKIPS] + finest, [*channels, *finest]
        below = [self.encoder.channels["stride32"], *widths[:-1]]
        self.decoder = nn.ModuleList(_Up(a, b, c) for a, b, c in zip(below, beside, widths, strict=True))
        self.pixels = nn.Identity() if enlarge else convolution(3, FINEST)
        self.head = nn.Conv2d(widths[-1], len(self.structures), 1)
        nn.init.constant_(self.head.bias, PRIOR_BIAS)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        seen = interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False) if self.enlarge else image
        maps = self.encoder.features_at(seen, self.encoder.layers)
        maps["stride1"] = self.pixels(2 * image - 1)
        names = self.skips + ["stride1"]  # noqa: RUF005  # TorchScript unpacks no list
        found = maps["stride32"]
        for place, block in enumerate(self.decoder):
            found = block(found, maps[names[place]])
        logits: Tensor = self.head(found)
        return logits


class _Up(nn.Module):
    """Twice the resolution, together with the encoder's map there."""

    def __init__(self, below: int, beside: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(below + beside, channels), convolution(channels, channels))

    def forward(self, below: Tensor, beside: Tensor) -> Tensor:
        enlarged = interpolate(below, size=beside.shape[-2:], mode="bilinear", align_corners=False)
        found: Tensor = self.layers(torch.cat([enlarged, beside], 1))
        return found
