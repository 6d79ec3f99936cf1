"""Perceptual distance of images in the features of a frozen network.

Source: Zhang et al. 2018, arXiv:1801.03924, Eq. 1: features normalised to unit length over channels, squared
differences, weighted, averaged over space and added over layers. In a network that knows diabetic retinopathy it is the
LPIPS_DR of Zhao et al. 2023, Eq. 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.errors import ImageValueError


class OccasionalLook:
    """Says when to look at values: on the CPU always, elsewhere at the first call and at every `interval`-th.

    On a GPU a look waits for all that was asked for; what is wrong with images is mostly wrong from the first call on.

    Examples:
        >>> look = OccasionalLook(interval=3)
        >>> [look.due(torch.device("cuda")) for _ in range(5)], look.due(torch.device("cpu"))
        ([True, False, False, True, False], True)
    """

    def __init__(self, interval: int = 100) -> None:
        self.interval, self.calls = interval, 0

    def due(self, device: torch.device) -> bool:
        self.calls += 1
        return device.type == "cpu" or (self.calls - 1) % self.interval == 0


VALUE_RANGES = {"[0,1]": (0.0, 1.0), "[-1,1]": (-1.0, 1.0)}
EPSILON = 1e-10


def layers_of(network: Any, layers: Sequence[str] | None) -> list[str]:
    """The layers to compare, by default all that the network names; `ValueError` for a network without any."""
    if not hasattr(network, "features_at"):
        raise ValueError(
            f"network {type(network).__name__} has no `features_at`: want EfficientNetLite, FundusGrader or alike"
        )
    named = getattr(network, "layers", None) if layers is None else layers
    if not named:
        raise ValueError(f"layers: {type(network).__name__} names none of its own, so give the layers to compare")
    return [name for name in named if name]


def to_unit_range(images: Tensor, value_range: str, name: str, slack: float = 1e-3, *, look: bool = True) -> Tensor:
    """Images `(B, 3, H, W)` as float32 in the scale [0, 1], checked against the range that they are said to have.

    Values may lie outside by `slack`, a share of the range: networks whose last layer is not bounded overshoot. Only a
    `look`, which waits for a GPU, sees that values, or NaN, lie outside (`ImageValueError`).
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ImageValueError(f"{name}: shape {tuple(images.shape)} came, wanted (B, 3, H, W)")
    low, high = VALUE_RANGES[value_range]
    scaled = (images.float() - low) / (high - low)
    if not look:
        return scaled
    smallest, largest = torch.stack(torch.aminmax(scaled.detach())).tolist()
    if not (smallest >= -slack and largest <= 1 + slack):  # also catches NaN
        came = (smallest * (high - low) + low, largest * (high - low) + low)
        raise ImageValueError(
            f"{name}: values from {came[0]:.3g} to {came[1]:.3g} came, wanted {value_range}; rescale, or give "
            f"value_range as one of {', '.join(VALUE_RANGES)}"
        )
    return scaled


class FeatureDistance(nn.Module):
    """Perceptual distance of pairs of images: a loss whose gradient flows through a frozen network to the images.

    With `phi_l` the features of layer l scaled to unit length over channels, and weights `w_l`,
    `d(x, y) = sum over l of mean over h, w of sum over c of w_lc (phi_lc(x) - phi_lc(y))^2`.

    Args:
        network: any network with `features_at(image, layers)`, such as `EfficientNetLite`, `FundusGrader` or
            `VGG19Features`, which gives for images `(B, 3, H, W)` in [0, 1] a dictionary of features `(B, C, h, w)` by
            layer; it is frozen and stays in evaluation mode.
        layers: layers that are compared; all that the network names where not given.
        weights: one number or one list of channel weights per layer, not negative; uniform (1) where not given.
        value_range: `"[0,1]"` or `"[-1,1]"`, of both images. `target` must lie in it; `preds` may overshoot by half of
            the range, as networks with an unbounded last layer do.

    Shape:
        - preds, target: `(B, 3, H, W)`.
        - output: `(B,)`, float32 also inside autocast; 0 for identical images.

    Raises:
        ValueError: for another range, weights that do not fit, or a network without `features_at` or names of layers.
        ImageValueError: for images of unequal shapes, too small for the layers, or outside the range (on a GPU every
            100th call looks).
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        layers: Sequence[str] | None = None,
        weights: Sequence[float] | Sequence[Sequence[float]] | None = None,
        value_range: str = "[0,1]",
    ) -> None:
        super().__init__()
        if value_range not in VALUE_RANGES:
            raise ValueError(f"value_range={value_range!r}: want one of {', '.join(VALUE_RANGES)}")
        self.layers = layers_of(network, layers)
        self.network: Any = network.eval().requires_grad_(False)
        self.value_range = value_range
        self._look = OccasionalLook()
        for index, weight in enumerate(_checked_weights(weights, self.layers)):
            self.register_buffer(f"weight{index}", weight)

    def train(self, mode: bool = True) -> FeatureDistance:
        """Sets the mode of this module; the network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if preds.shape != target.shape:
            raise ImageValueError(f"preds {tuple(preds.shape)} and target {tuple(target.shape)} differ in shape")
        return self.towards(target)(preds)

    def towards(self, target: Tensor) -> Callable[[Tensor], Tensor]:
        """The distance from one target as a function of `preds`: the target's features are computed once."""
        look = self._look.due(target.device)
        wanted = self._features(to_unit_range(target, self.value_range, "target", look=look))

        def distance(preds: Tensor) -> Tensor:
            x = to_unit_range(preds, self.value_range, "preds", 0.5, look=look)
            with torch.autocast(x.device.type, enabled=False):
                return self._distance(self._features(x), wanted)

        return distance

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        try:
            with torch.autocast(images.device.type, enabled=False):
                found: dict[str, Tensor] = self.network.features_at(images, self.layers)
        except RuntimeError as error:
            if "too small" not in str(error):
                raise
            height, width = images.shape[-2:]
            raise ImageValueError(
                f"images of {height} x {width} px are too small for the layers {', '.join(self.layers)} of "
                f"{type(self.network).__name__}: give larger ones (32 px for five halvings), or fewer layers"
            ) from error
        return found

    def _distance(self, first: dict[str, Tensor], second: dict[str, Tensor]) -> Tensor:
        return torch.stack([self._of_layer(i, first[name], second[name]) for i, name in enumerate(self.layers)]).sum(0)

    def _of_layer(self, index: int, first: Tensor, second: Tensor) -> Tensor:
        weight = self.get_buffer(f"weight{index}").view(1, -1, 1, 1)
        return (weight * (_unit_length(first) - _unit_length(second)).square()).sum(1).mean((1, 2))


def _unit_length(features: Tensor) -> Tensor:
    # Inside the root: where all channels are 0 (black ground) the gradient of the root itself is not finite.
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + EPSILON)


def _checked_weights(
    weights: Sequence[float] | Sequence[Sequence[float]] | None, layers: Sequence[str]
) -> list[Tensor]:
    if weights is None:
        return [torch.ones(1) for _ in layers]
    if len(weights) != len(layers):
        raise ValueError(f"weights has {len(weights)} entries for {len(layers)} layers: give one for each")
    tensors = [torch.as_tensor(weight, dtype=torch.float32).reshape(-1) for weight in weights]
    if any(bool((tensor < 0).any()) for tensor in tensors):
        raise ValueError("weights has negative numbers: a distance needs weights of at least 0")
    return tensors


class LPIPSDR(FeatureDistance):
    """`FeatureDistance` in a detector of retinopathy; its arguments, and at all layers that the detector names.

    The paper's detector is a `FundusGrader(backbone="vgg16", num_classes=2)` trained to tell grade 0 from 1-4, whose
    layers are the five max-pools.

    Examples:
        >>> from monai_retina_gen.networks import FundusGrader
        >>> distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2))
        >>> x = torch.rand(2, 3, 32, 32)
        >>> distance(x, x)
        tensor([0., 0.])
    """
