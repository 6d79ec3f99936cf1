"""Names of the original StyleGAN3's parameters translated to ours, for networks that users own.

A state dict of the original, saved as plain tensors (no pickled classes), becomes one that `StyleGAN3` loads. Filters
are no parameters here; they are compared with those that the network computes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks.stylegan3 import StyleGAN3

_INPUT_NAMES = {"freqs": "frequencies"}


def convert_stylegan3_state(state: Mapping[str, Tensor], network: StyleGAN3) -> dict[str, Tensor]:
    """Translate names such as `synthesis.L0_36_512.weight`; the result is for `network.load_state_dict`.

    `WeightsError` for a name that is not known, a layer that `network` does not have (another size, configuration or
    number of channels) or a filter that differs from `network`'s.
    """
    converted = {}
    for name, value in state.items():
        if name.endswith(("up_filter", "down_filter")):
            _check_filter(name, value, network)
        else:
            converted[_translate(name, network)] = value
    return converted


def _translate(name: str, network: StyleGAN3) -> str:
    if name == "mapping.w_avg":
        return "w_avg"
    if match := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", name):
        return f"latent_mapping.layers.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"mapping\.embed\.(weight|bias)", name):
        return f"latent_mapping.embed.{match[1]}"
    if match := re.fullmatch(r"synthesis\.input\.(weight|affine\.weight|affine\.bias|freqs|phases|transform)", name):
        return f"synthesis.input.{_INPUT_NAMES.get(match[1], match[1])}"
    index, rest = _layer(name, network)
    if rest in ("weight", "bias", "affine.weight", "affine.bias", "magnitude_ema"):
        return f"synthesis.layers.{index}.{rest}"
    raise WeightsError(f"{name!r} is not a parameter of StyleGAN3: pass the state dict of a generator alone")


def _layer(name: str, network: StyleGAN3) -> tuple[int, str]:
    match = re.fullmatch(r"synthesis\.L(\d+)_(\d+)_(\d+)\.(.+)", name)
    if match is None:
        raise WeightsError(f"{name!r} is not a parameter of StyleGAN3: pass the state dict of a generator alone")
    index, size, channels = int(match[1]), int(match[2]), int(match[3])
    targets = [layer.plan.target for layer in network.synthesis.layers]  # type: ignore[union-attr]
    if index >= len(targets) or (size, channels) != (targets[index].size, targets[index].channels):  # type: ignore[union-attr]
        ours = [f"L{i}_{t.size}_{t.channels}" for i, t in enumerate(targets)]  # type: ignore[union-attr]
        raise WeightsError(
            f"the state has a layer L{index}_{size}_{channels}, the network has {', '.join(ours)}: build it with the "
            "image_size, channel_base and channel_max of the state"
        )
    return index, match[4]


def _check_filter(name: str, value: Tensor, network: StyleGAN3) -> None:
    index, rest = _layer(name, network)
    ours = dict(zip(("up_filter", "down_filter"), network.synthesis.layers[index].plan.filters(), strict=True))[rest]  # type: ignore[union-attr, operator]
    if ours is None or ours.shape != value.shape or not torch.allclose(ours, value.double().cpu(), atol=1e-5):
        raise WeightsError(f"{name} differs from the network's filter: is `config` ('t' or 'r') the state's?")
