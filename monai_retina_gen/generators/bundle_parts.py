"""Parts of bundles that generators work with, loaded at first use: segmenters, lesion banks and inverters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import LesionBank, MaskComposer
from monai_retina_gen.editing.lesion_masks import SegmenterMasks
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.editing.style.inversion import Inversion
from monai_retina_gen.engines import load_segmenter
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.opened_once import OpenedOnce, file_stamps
from monai_retina_gen.weights import (
    find_bundle,
    load_network,
    load_state,
    pinned_sha256,
    read_inference_config,
    read_metadata,
    split_bundle_name,
    weights_file,
)
from monai_retina_gen.weights.state_files import save_pinned

LESION_BANK = "models/lesion_bank.pt"
"""Where a bundle keeps its lesions, unless `lesion_bank_file` in its inference configuration says otherwise."""

PERCEPTUAL = "retina_grader:dr_vgg16"


_OPENED: OpenedOnce[MaskComposer] = OpenedOnce()


class BundleMasks:
    """Masks of a bundle's segmenter (`BUNDLE` or `BUNDLE:CONFIG`), loaded at first use, where the images are."""

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle
        name, config_name = split_bundle_name(bundle)
        self.side = int(read_inference_config(find_bundle(name), config_name).get("image_size", 0))
        self._masks: tuple[torch.device, SegmenterMasks] | None = None

    @property
    def identity(self) -> str:
        """Name and version of the bundle, for records."""
        return f"{self.bundle} {read_metadata(find_bundle(split_bundle_name(self.bundle)[0])).get('version', '0')}"

    @classmethod
    def of(cls, bundle: Any) -> BundleMasks | None:
        """That bundle's, if one is named."""
        return cls(str(bundle)) if bundle else None

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        if self._masks is None or self._masks[0] != images.device:
            segmenter = load_segmenter(self.bundle, device=images.device, flips=False)
            self._masks = (images.device, SegmenterMasks(segmenter, batch_size=8))
        return self._masks[1](images)


class BundleComposer:
    """Composes lesions of a bundle's bank, which is loaded at first use, once per process."""

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle

    def __call__(self) -> MaskComposer:
        """The composer; `BundleNotFoundError` or `WeightsError` where there is no such bundle, or no bank in it."""
        folder = find_bundle(self.bundle)
        file = folder / _bank_file(folder, "inference")
        return _OPENED.get(folder, file_stamps([file]), lambda: self._opened(folder))

    def _opened(self, folder: Path) -> MaskComposer:
        bank = bundle_lesion_bank(folder)
        if bank is None:
            raise WeightsError(f"bundle {folder} has no lesion bank: `model lesion-bank --bundle {folder}` makes one")
        return MaskComposer(bank)


def bundle_lesion_bank(bundle: Path, config_name: str = "inference") -> LesionBank | None:
    """The lesion bank that a bundle pins, or `None`."""
    file = _bank_file(bundle, config_name)
    pin = pinned_sha256(bundle, file)
    return None if pin is None else LesionBank.from_state(load_state(bundle / file, sha256=pin))


def _bank_file(bundle: Path, config_name: str) -> str:
    return str(read_inference_config(bundle, config_name).get("lesion_bank_file", LESION_BANK))


def install_lesion_bank(bank: LesionBank, bundle: Path) -> Path:
    """Put the bank into a bundle and pin it in its metadata."""
    return save_pinned(bank.state(), bundle, LESION_BANK)


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
