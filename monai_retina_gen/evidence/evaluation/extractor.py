"""Feature extractors by name: every figure carries the name, sha256 and dimension of the one that it was taken with."""

from __future__ import annotations

import os
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

DEFAULT_EXTRACTOR = "lite2"

PIXEL_SIDE = 16
IMAGENET_SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}  # sides that the published networks were trained at


class Extractor:
    """A frozen network that gives `(B, d)` features of images, with its identity.

    Images are resized to `input_size` (bilinear, antialiased); 0 takes them as they come. `sha256` is that of a file.
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


class _Pooled(nn.Module):
    """Features of a grader before its head."""

    def __init__(self, grader: Any) -> None:
        super().__init__()
        self.grader = grader

    def forward(self, images: Tensor) -> Any:
        return self.grader.features(images)


class _Inception(nn.Module):
    """Torch-fidelity's Inception-v3 takes bytes, and resizes as TensorFlow did."""

    def __init__(self, path: Path) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        load_state(path)  # torch-fidelity unpickles objects: only a plain state dict gets that far
        weights = {"feature_extractor_weights_path": str(path)}
        self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], **weights)

    def forward(self, images: Tensor) -> Any:
        return self.network((images * 255).round().to(torch.uint8))[0]


def load_extractor(source: str | os.PathLike[str] | Extractor = DEFAULT_EXTRACTOR, device: str = "cpu") -> Extractor:
    """A feature extractor.

    Args:
        source: `"lite2"`, 1280 pooled features at 260 pixels of EfficientNet-Lite2 as it comes from ImageNet, which is
            in no loss and no gate (extra `pretrained`; `"lite0"` and `"lite1"` are no judges of what they taught);
            `"fundus"`, the pooled features of the bundle `retina_grader`, which knows the photographs it was trained
            on; `"pixels"`, the colours of a reduction to 16 x 16 pixels, for data that no network fits; `"inception"`,
            torch-fidelity's Inception-v3 as in published FIDs, whose weights your machine downloads; or a grader's
            bundle. An `Extractor` is returned as it is.
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
    if source == "pixels":
        name = f"pixels {PIXEL_SIDE} x {PIXEL_SIDE}"
        return Extractor(nn.Flatten(), name=name, sha256="", input_size=PIXEL_SIDE, device=device)
    if source == "inception":
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        path = hub_file(URL_INCEPTION_V3, what="extractor 'inception'", otherwise="use the extractor 'lite2'")
        name, sha256 = "torch-fidelity inception-v3-compat 2048", sha256_file(path)
        return Extractor(_Inception(path), name=name, sha256=sha256, input_size=0, device=device)
    if source in LITE_VARIANTS:
        variant = str(source)
        name, sha256 = f"EfficientNet-{variant.title()} ImageNet, pooled", sha256_file(imagenet_file(variant))
        network = load_imagenet(EfficientNetLite(variant=variant)).to(memory_format=torch.channels_last)  # faster
        return Extractor(network, name=name, sha256=sha256, input_size=IMAGENET_SIZES[variant], device=device)
    bundle = find_bundle("retina_grader" if source == "fundus" else source)
    network, size = load_network(bundle), int(read_inference_config(bundle).get("image_size", 0))
    if not hasattr(network, "features") or size < 1:
        raise WeightsError(
            f"bundle {bundle} is no feature extractor: its network needs a method `features`, and its "
            "configs/inference.json a key `image_size`"
        )
    version = read_metadata(bundle).get("version", "") if (bundle / "configs" / "metadata.json").is_file() else ""
    name, sha256 = f"{bundle.name} {version}".strip() + ", pooled", sha256_file(bundle / CHECKPOINT)
    return Extractor(_Pooled(network), name=name, sha256=sha256, input_size=size, device=device)
