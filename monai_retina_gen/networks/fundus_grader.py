"""Grader of diabetic retinopathy: a torchvision backbone with a linear head.

Sources: the five papers grade with ResNet-50 (Zhao et al., Zhou et al.), VGG16 and Inception-v3 (Zhao et al.),
ResNet-101 and DenseNet-121 (Cheng and Ye). Any of torchvision's backbones listed in `BACKBONES` is taken by its name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["BACKBONES", "FundusGrader"]

BACKBONES = ("resnet18", "resnet50", "resnet101", "vgg16", "densenet121", "inception_v3")


class FundusGrader(nn.Module):
    """Logits of the grade for photographs in [0, 1].

    Args:
        backbone: one of `BACKBONES`; `resnet50` as in the papers, `resnet18` is what ships.
        num_classes: number of grades.
        pretrained: start from torchvision's ImageNet weights. They are downloaded by your machine; if that fails the
            error says so, and the network never starts from scratch instead.
        dropout: probability before the linear head.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1]; the normalisation with ImageNet's mean and deviation is inside.
        - output: `(B, num_classes)` logits.

    Raises:
        ValueError: for an unknown backbone.
        RuntimeError: if the ImageNet weights cannot be had.

    Example:
        >>> FundusGrader(backbone="resnet18").eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 5])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        num_classes: int = 5,
        pretrained: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"unknown backbone {backbone!r}: choose one of {', '.join(BACKBONES)}")
        self.num_classes = num_classes
        self.backbone, self.feature_dim = _torchvision_features(backbone, pretrained)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.feature_dim, num_classes))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def features(self, image: Tensor) -> Tensor:
        """Pooled features before the head: `(B, feature_dim)`, for distances between sets of images."""
        return self.backbone((image - self.mean) / self.std)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def _torchvision_features(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    # torchvision takes a second to import and only graders need it.
    from torchvision import models

    # Inception's auxiliary head returns a tuple in training; the papers do not use it.
    options = {"aux_logits": False} if name == "inception_v3" and not pretrained else {}
    build: Callable[..., nn.Module] = getattr(models, name)
    try:
        network = build(weights="DEFAULT" if pretrained else None, **options)
    except OSError as error:
        raise RuntimeError(
            f"ImageNet weights of {name} could not be downloaded ({error}). Put torchvision's file into "
            "$TORCH_HOME/hub/checkpoints, or pass pretrained=False to train from scratch."
        ) from error
    if name == "inception_v3":
        network.AuxLogits, network.aux_logits = None, False  # type: ignore[assignment]
    head = {"vgg16": "classifier", "densenet121": "classifier"}.get(name, "fc")
    if name == "vgg16":  # the papers' 4096-wide layers hold 120 M parameters; pooling keeps 512 features
        network.avgpool, dimension = nn.AdaptiveAvgPool2d(1), 512
    else:
        dimension = int(getattr(network, head).in_features)
    setattr(network, head, nn.Identity())
    return network, dimension
