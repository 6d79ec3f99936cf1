"""Perceptual networks trained on ImageNet, as options beside the fundus network: LPIPS and VGG-19.

Their weights are not part of this package: torchvision downloads them once, and where it cannot the error names the
file and the folder.

Sources: LPIPS, Zhang et al. 2018, arXiv:1801.03924 (package `lpips`); VGG-19, all layers of which Zhou et al.
(DR-GAN) compare.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.losses.feature_distance import VALUE_RANGES, OccasionalLook, to_unit_range
from monai_retina_gen.networks.inputs import register_imagenet_colours

WEIGHT_FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
}


@contextlib.contextmanager
def _explained_download(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder, file = os.path.join(torch.hub.get_dir(), "checkpoints"), WEIGHT_FILES[name]
        raise WeightsError(
            f"ImageNet weights of {name} could not be downloaded ({error}). Fetch https://download.pytorch.org/models/"
            f"{file} on a machine with a network and put it into {folder}; or compare in a fundus network (LPIPSDR)."
        ) from error


class ImageNetLPIPS(nn.Module):
    """LPIPS of the package `lpips` with its ImageNet trunk, as a loss: gradients flow to the images.

    `preds` and `target` `(B, 3, H, W)` give `(B,)`, float32.

    Args:
        net: `alex`, `vgg` or `squeeze`.
        value_range: `"[0,1]"` or `"[-1,1]"`, of both images.
        pretrained: `False` leaves the trunk random, for tests only.

    Raises:
        WeightsError: if the trunk's weights cannot be had; says where to get them and where to put them.
    """

    def __init__(self, *, net: str = "vgg", value_range: str = "[0,1]", pretrained: bool = True) -> None:
        super().__init__()
        if net not in ("alex", "vgg", "squeeze") or value_range not in VALUE_RANGES:
            raise ValueError(
                f"net={net!r}, value_range={value_range!r}: want alex, vgg or squeeze, and [0,1] or [-1,1]"
            )
        from lpips import LPIPS

        with _explained_download(net), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips calls torchvision by arguments that it has renamed
            self.distance = LPIPS(net=net, pnet_rand=not pretrained, verbose=False)
        self.distance.eval().requires_grad_(False)
        self.value_range = value_range
        self._look = OccasionalLook()

    def train(self, mode: bool = True) -> ImageNetLPIPS:
        """Sets the mode of this module; the network stays in evaluation mode (its heads hold dropout)."""
        super().train(mode)
        self.distance.eval()
        return self

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        look = self._look.due(preds.device)
        x = to_unit_range(preds, self.value_range, "preds", 0.5, look=look)
        y = to_unit_range(target, self.value_range, "target", look=look)
        with torch.autocast(x.device.type, enabled=False):
            return self.distance(x, y, normalize=True).flatten()


class VGG19Features(nn.Module):
    """Feature maps of ImageNet's VGG-19: `relu1_1` to `relu5_4`, after every ReLU, and `pool1` to `pool5`.

    Frozen and in evaluation mode; takes the place of a `FundusGrader` wherever `features_at` is asked for.
    `WeightsError` if the weights cannot be had; `pretrained=False` leaves the network random, for tests only.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, pretrained: bool = True) -> None:
        super().__init__()
        from torchvision.models import vgg

        with _explained_download("vgg19"):
            self.network: nn.Module = (
                vgg.vgg19(weights="DEFAULT").features if pretrained else vgg.make_layers(vgg.cfgs["E"])
            )
        for module in self.network:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # a feature map must not change after it was read
        self.eval().requires_grad_(False)
        self.layers = _vgg_layer_names(self.network)
        register_imagenet_colours(self)

    def features_at(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features `(B, C, h, w)` at each of `layers` of `(B, 3, H, W)` images in [0, 1]."""
        unknown = [name for name in layers if name not in self.layers]
        if unknown:
            raise ValueError(f"layers {unknown}: VGG-19 has {', '.join(filter(None, self.layers))}")
        found: dict[str, Tensor] = {}
        features = (image - self.mean) / self.std
        for name, module in zip(self.layers, self.network, strict=True):  # type: ignore[call-overload]
            features = module(features)
            if name in layers:
                found[name] = features
            if len(found) == len(set(layers)):
                break
        return {name: found[name] for name in layers}


def _vgg_layer_names(network: nn.Module) -> list[str]:
    """Name of every module's output, empty for convolutions."""
    names, block, number = [], 1, 0
    for module in network.children():
        if isinstance(module, nn.ReLU):
            number += 1
            names.append(f"relu{block}_{number}")
        elif isinstance(module, nn.MaxPool2d):
            names.append(f"pool{block}")
            block, number = block + 1, 0
        else:
            names.append("")
    return names
