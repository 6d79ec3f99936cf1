"""Graders of diabetic retinopathy: a backbone by name with a linear head, and one for each fold.

What ships is EfficientNet-Lite0. The five papers grade with ResNet-50 (Zhao et al., Zhou et al.), VGG16 and
Inception-v3 (Zhao et al.), ResNet-101 and DenseNet-121 (Cheng and Ye), which are torchvision's.
With `backbone="vgg16", num_classes=2` (grade 0 against 1-4) it is the network behind LPIPS_DR (Zhao et al., Eq. 1).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from monai_retina_gen.networks.efficientnet_lite import LAST_STAGE, LITE_VARIANTS, EfficientNetLite
from monai_retina_gen.networks.inputs import IMAGENET_MEAN, IMAGENET_STD

LITE = "efficientnet_"
BACKBONES = (
    *(LITE + variant for variant in LITE_VARIANTS),
    *("resnet18", "resnet50", "resnet101", "vgg16", "vgg16_bn", "densenet121", "inception_v3"),
)
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


class FundusGrader(nn.Module):
    """Logits of the grade for photographs in [0, 1].

    Args:
        backbone: one of `BACKBONES`; `efficientnet_lite0` is what ships, `resnet50` the papers'. `vgg16_bn` has batch
            normalisation, without which sixteen layers hardly train from scratch. It starts from random weights:
            `load_imagenet` of the room `weights` brings ImageNet's.
        num_classes: number of grades.
        dropout: probability before the linear head.
        width: share of the published channels, for VGG16 only: 0.5 has 3.7 M parameters instead of 14.7 M.
        drop_path: stochastic depth, for EfficientNet-Lite only (see `EfficientNetLite`).
        ordinal: one severity cut into grades (see `OrdinalHead`) instead of a logit for each grade.

    Attributes:
        temperature: divisor of the logits in `probabilities`; 1 until it was fitted (see `fit_temperature`). It is
            saved with the weights.
        architecture: the backbone's name.
        layers: names that `features_at` knows, in order: `stride2` to `stride32` of an EfficientNet-Lite, the five
            max-pools `pool1` to `pool5` of a VGG16.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1]; the normalisation that the backbone wants is inside.
        - output: `(B, num_classes)` logits, not divided by the temperature.

    Raises:
        ValueError: for an unknown backbone, or a width or `drop_path` that the backbone cannot have.

    Examples:
        >>> FundusGrader(backbone="resnet18").eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 5])
        >>> small = FundusGrader(backbone="vgg16", width=0.25, num_classes=2).eval()
        >>> [tuple(x.shape[1:]) for x in small.features_at(torch.rand(1, 3, 64, 64), ["pool1", "pool5"]).values()]
        [(16, 32, 32), (128, 2, 2)]
    """

    # TorchScript reads these, so this file does not postpone annotations
    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        num_classes: int = 5,
        dropout: float = 0.0,
        width: float = 1.0,
        drop_path: float = 0.0,
        ordinal: bool = False,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"unknown backbone {backbone!r}: choose one of {', '.join(BACKBONES)}")
        if not 0 < width <= 1 or (width < 1 and not backbone.startswith("vgg")):
            raise ValueError(f"width={width}: want 1, or less for vgg16 and vgg16_bn")
        if drop_path and not backbone.startswith(LITE):
            raise ValueError(f"drop_path={drop_path}: want 0, or {LITE}lite0, lite1 or lite2 as backbone")
        self.architecture, self.num_classes = backbone, num_classes
        self.backbone, self.feature_dim = _backbone(backbone, width, drop_path)
        self._layer_paths = _named_layers(self.backbone, backbone)
        self.layers = tuple(self._layer_paths)
        last = OrdinalHead(self.feature_dim, num_classes) if ordinal else nn.Linear(self.feature_dim, num_classes)
        self.head = nn.Sequential(nn.Dropout(dropout), last)
        self.register_buffer("temperature", torch.ones(()))
        # EfficientNet-Lite normalises by itself
        mean, std = ([0.0] * 3, [1.0] * 3) if backbone.startswith(LITE) else (IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def features(self, image: Tensor) -> Tensor:
        """Pooled features before the head: `(B, feature_dim)`, for distances between sets of images."""
        return self.backbone((image - self.mean) / self.std)

    def features_at(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps `(B, C, h, w)` at named layers, any of the attribute `layers`, else `ValueError`.

        `image` is `(B, 3, H, W)` in [0, 1]; gradients flow back to it.
        """
        unknown = [name for name in layers if name not in self._layer_paths]
        if unknown:
            raise ValueError(f"layers {unknown}: this backbone has {', '.join(self.layers)}")
        found: dict[str, Tensor] = {}
        hooks = [
            self.backbone.get_submodule(self._layer_paths[name]).register_forward_hook(partial(_keep, found, name))
            for name in layers
        ]
        try:
            self.features(image)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: found[name] for name in layers}

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))

    def probabilities(self, image: Tensor) -> Tensor:
        """Calibrated probabilities `(B, num_classes)`: softmax of the logits over the temperature."""
        return torch.softmax(self(image).float() / self.temperature, dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Weights from before calibration have no temperature, which means 1.
        state_dict.setdefault(f"{prefix}temperature", torch.ones(()))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _keep(found: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    found[name] = output


def _named_layers(network: nn.Module, backbone: str) -> dict[str, str]:
    """Names for users and paths of the modules behind them."""
    if backbone.startswith(LITE):
        return {name: f"network.blocks.{stage}" for name, stage in LAST_STAGE.items()}
    if backbone.startswith("vgg"):
        pools = [path for path, module in network.named_modules() if isinstance(module, nn.MaxPool2d)]
        return {f"pool{i}": path for i, path in enumerate(pools, 1)}
    if backbone == "densenet121":
        return {f"denseblock{i}": f"features.denseblock{i}" for i in range(1, 5)}
    if backbone == "inception_v3":
        return {name: name for name in ("Mixed_5d", "Mixed_6e", "Mixed_7c")}
    return {f"layer{i}": f"layer{i}" for i in range(1, 5)}


def _backbone(name: str, width: float, drop_path: float) -> tuple[nn.Module, int]:
    if name.startswith(LITE):
        lite = EfficientNetLite(variant=name.removeprefix(LITE), drop_path=drop_path)
        return lite, lite.feature_dim
    return _vgg_features(name, width) if name.startswith("vgg") else _torchvision_features(name)


def _vgg_features(name: str, width: float) -> tuple[nn.Module, int]:
    """The convolutions of VGG16, pooled: the papers' 4096-wide layers hold 120 M parameters."""
    from torchvision.models.vgg import make_layers

    channels: list[str | int] = [x if isinstance(x, str) else round(x * width) for x in VGG16]
    convolutions = make_layers(channels, batch_norm=name.endswith("bn"))
    for module in convolutions.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    network = nn.Sequential()
    network.add_module("features", convolutions)
    network.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    return network, round(512 * width)


def _torchvision_features(name: str) -> tuple[nn.Module, int]:
    # torchvision takes a second to import and only graders need it.
    from torchvision import models

    # Inception's auxiliary head returns a tuple in training; the papers do not use it. Its scaling from ImageNet's
    # mean and deviation to its own is what its published weights were trained with.
    options = {"aux_logits": False, "transform_input": True, "init_weights": True} if name == "inception_v3" else {}
    network = models.get_model(name, weights=None, **options)
    head = "classifier" if name == "densenet121" else "fc"
    dimension = int(getattr(network, head).in_features)
    setattr(network, head, nn.Identity())
    return network, dimension


class OrdinalHead(nn.Module):
    """Log probabilities `(B, num_classes)` of ordered grades: P(grade <= k) = sigmoid(threshold k - severity).

    One severity, cut into grades at thresholds: McCullagh, "Regression models for ordinal data", Journal of the Royal
    Statistical Society B 42, 1980, Eq. 2.1. They sum to 1 as probabilities, so that cross entropy, softmax and a
    temperature take them as any logits.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: an order needs at least 2")
        self.severity = nn.Linear(in_features, 1)
        # softplus(0.5413) = 1 between thresholds: in the middle of them all grades are about as likely
        self.first = nn.Parameter(torch.tensor([-(num_classes - 2) / 2]))
        self.gaps = nn.Parameter(torch.full((num_classes - 2,), 0.5413))

    def forward(self, features: Tensor) -> Tensor:
        severity = self.severity(features).float()
        gaps = softplus(self.gaps.float())
        thresholds = self.first.float() + torch.cat([torch.zeros_like(self.first), gaps.cumsum(0)])
        below, above = logsigmoid(thresholds - severity), logsigmoid(severity - thresholds)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): no difference of two numbers near 1
        middle = below[:, 1:] + above[:, :-1] + torch.log(-torch.expm1(-gaps))
        return torch.cat([below[:, :1], middle, above[:, -1:]], 1)


class CrossFittedGraders(nn.Module):
    """Graders of all folds; a photograph is graded by the one that never saw it, another image by all.

    A network recognises photographs that it was trained on. So gate and label check judge a photograph, with everything
    that was made of it, by the network of its fold alone.

    Args:
        graders: network of fold i at place i, trained without that fold; logits `(B, grades)`.
        folds: fold by group, as `fold_of_group` gave it.
        temperature: divisor of the logits, from `fit_temperature` on out-of-fold predictions.

    Raises:
        ValueError: without a grader for each fold, or for a temperature that is not positive.

    Examples:
        >>> class Says(nn.Module):
        ...     def __init__(self, grade):
        ...         super().__init__()
        ...         self.grade = grade
        ...     def forward(self, image):
        ...         return 9.0 * torch.eye(5)[[self.grade] * len(image)]
        >>> graders = CrossFittedGraders(graders=[Says(0), Says(1)], folds={"a": 0, "b": 1})
        >>> graders(torch.zeros(3, 3, 8, 8), ["a", "b", None]).argmax(1).tolist()[:2]
        [0, 1]
    """

    def __init__(self, *, graders: Sequence[nn.Module], folds: Mapping[str, int], temperature: float = 1.0) -> None:
        super().__init__()
        if not graders or not set(folds.values()) <= set(range(len(graders))) or not temperature > 0:
            raise ValueError(
                f"{len(graders)} graders for the folds {sorted(set(folds.values()))}, temperature={temperature}: "
                "want one grader a fold, and a positive temperature"
            )
        self.graders, self.folds, self.temperature = nn.ModuleList(graders), dict(folds), temperature

    def forward(self, image: Tensor, groups: Sequence[str | None] | None = None) -> Tensor:
        """Probabilities `(B, grades)` of images `(B, 3, H, W)` in [0, 1].

        `groups` are those of the photographs that images are, or were made from; None, or a group of no fold, is an
        image of no photograph: the mean of all graders. Without `groups` that holds for all images.
        """
        groups = [None] * len(image) if groups is None else groups
        if len(groups) != len(image):
            raise ValueError(f"{len(groups)} groups for {len(image)} images: give one each")
        judges = [{self.folds[group]} if group in self.folds else set(range(len(self.graders))) for group in groups]
        total: Tensor | None = None
        for fold, grader in enumerate(self.graders):
            rows = [i for i, judge in enumerate(judges) if fold in judge]
            if rows:
                share = image.new_tensor([1 / len(judges[i]) for i in rows], dtype=torch.float32)
                part = torch.softmax(grader(image[rows]).float() / self.temperature, 1) * share[:, None]
                total = part.new_zeros(len(image), part.shape[1]) if total is None else total
                total.index_add_(0, torch.tensor(rows, device=part.device), part)
        if total is None:
            raise ValueError("image holds no image: want (B, 3, H, W) with B of at least 1")
        return total
