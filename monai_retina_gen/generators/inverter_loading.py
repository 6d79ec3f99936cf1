"""The inverter that a bundle brings: its encoder, and the network that distances are measured in, at first use."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.editing.style.inversion import Inversion
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.weights import (
    find_bundle,
    load_network,
    pinned_sha256,
    read_inference_config,
    split_bundle_name,
    weights_file,
)

PERCEPTUAL = "retina_grader:dr_vgg16"


class BundleInverter:
    """Inverts photographs with a bundle's encoder; networks are loaded at the first call.

    The configuration's keys: `encoder`, the name of the configuration of the `StyleEncoder` (its `network_def` and
    `weights_file`) in the same bundle; `detail_encoder`, where there is one, that of its `DetailEncoder`;
    `perceptual_network`, `BUNDLE:CONFIG` of the network of `LPIPSDR`; `inversion`, further arguments of
    `EncoderInversion`.
    """

    def __init__(self, bundle: Path, config_name: str, network: nn.Module) -> None:
        self.bundle, self.config_name, self.network = bundle, config_name, network
        self.inverter: EncoderInversion | None = None

    @staticmethod
    def of(bundle: Path, config_name: str, network: nn.Module) -> BundleInverter | None:
        """The bundle's inverter, or `None` where it has no encoder with weights."""
        own = read_inference_config(bundle, config_name).get("encoder")
        if own is None or pinned_sha256(bundle, weights_file(read_inference_config(bundle, own))) is None:
            return None
        return BundleInverter(bundle, config_name, network)

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        found: Inversion = self.load().to(images.device)(images, grades)
        return found

    def load(self) -> EncoderInversion:
        """The inverter with its networks."""
        if self.inverter is None:
            self.inverter = self._loaded()
        return self.inverter

    def _loaded(self) -> EncoderInversion:
        config = read_inference_config(self.bundle, self.config_name)
        encoder = load_network(self.bundle, config_name=str(config["encoder"]))
        name, judge = split_bundle_name(str(config.get("perceptual_network", PERCEPTUAL)))
        distance = LPIPSDR(network=load_network(find_bundle(name), config_name=judge))
        own = config.get("detail_encoder")
        detail = None if own is None else load_network(self.bundle, config_name=str(own))
        options = {"detail_encoder": detail, **config.get("inversion", {})}
        return EncoderInversion(self.network, encoder, distance=distance, **options)
