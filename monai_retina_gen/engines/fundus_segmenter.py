"""Segmentation of whole photographs: the inferer, a trained segmenter as one call, and the data to train one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from monai_retina_gen.data import SECTIONS, Datalist, Item, load_datalist
from monai_retina_gen.data.prepared_sets import PREPARED_SETS
from monai_retina_gen.errors import DatalistError, ImageValueError, WeightsError
from monai_retina_gen.networks import STRUCTURES
from monai_retina_gen.networks.inputs import bfloat16_autocast
from monai_retina_gen.weights import (
    find_bundle,
    load_network,
    read_inference_config,
    read_metadata,
    split_bundle_name,
    weights_file,
)

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


class FlippedWindowInferer(SlidingWindowInferer):
    """Mean probabilities over flips, each by sliding windows that overlap with Gaussian weights.

    Args:
        window: side of the windows in pixels; a smaller image is one window.
        overlap: share of a window that neighbours have in common.
        flips: average over the four flips of the image; `False` takes the image as it is, in a quarter of the time.
        amp: bfloat16 autocast.
        stride: windows' sides are rounded up to multiples of it, as the network's resolutions ask.

    Returns:
        Probabilities (sigmoid of the network's logits), float32, of the size of the inputs.

    Examples:
        >>> FlippedWindowInferer(window=32)(torch.zeros(1, 3, 40, 24), lambda image: image[:, :1]).shape
        torch.Size([1, 1, 40, 24])
    """

    def __init__(
        self, *, window: int = 512, overlap: float = 0.25, flips: bool = True, amp: bool = False, stride: int = 32
    ) -> None:
        super().__init__(roi_size=(window, window), sw_batch_size=1, overlap=overlap, mode="gaussian")
        self.window, self.stride, self.amp = window, stride, amp
        self.flips = FLIPS if flips else FLIPS[:1]

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        sides = [min(self.window, -(-side // self.stride) * self.stride) for side in inputs.shape[-2:]]
        self.roi_size = tuple(sides)
        total = torch.zeros(())
        for axes in self.flips:
            with bfloat16_autocast(inputs.device.type, self.amp):
                logits = super().__call__(inputs.flip(axes) if axes else inputs, network, *args, **kwargs)
            seen = torch.sigmoid(torch.as_tensor(logits).float())
            total = total.to(seen) + (seen.flip(axes) if axes else seen)
        return total / len(self.flips)


BUNDLE = "retina_lesion_segmentation"


class FundusSegmenter:
    """Masks of photographs.

    Args:
        network: a network with logits `(B, structures, H, W)`.
        structures: names of its channels.
        image_size: diameter of the field of view, in pixels, that it was trained at.
        thresholds: probability from which on a pixel belongs to a structure; 0.5 where not given.
        name: name and version, for records.
        device: where it runs.
        flips: average over four flips; `False` takes a quarter of the time.
        amp: bfloat16.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        structures: Sequence[str],
        image_size: int,
        thresholds: Mapping[str, float] | None = None,
        name: str = "",
        device: str | torch.device = "cpu",
        flips: bool = True,
        amp: bool = False,
    ) -> None:
        self.device, self.structures, self.image_size = torch.device(device), tuple(structures), image_size
        self.network = network.to(device=self.device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
        self.thresholds = dict.fromkeys(self.structures, 0.5) | dict(thresholds or {})
        self.name = name or type(network).__name__
        self.inferer = FlippedWindowInferer(window=image_size, flips=flips, amp=amp)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Probability of each structure, `(B, 1, H, W)` float32 by name, on the device of `images`.

        Args:
            images: `(B, 3, H, W)` in [0, 1] (`ImageValueError` for others), cropped to the field of view at about
                `image_size`; other sizes are computed as they are, and lesions look larger or smaller than those
                learned.
        """
        low, high = torch.stack(torch.aminmax(images)).tolist()  # together: a GPU is waited for once
        if images.ndim != 4 or images.shape[1] != 3 or not (low >= 0 and high <= 1):
            raise ImageValueError(
                f"images: shape {tuple(images.shape)}, values {low:.3g} to {high:.3g} came, wanted (B, 3, H, W) in "
                "[0, 1]"
            )
        found = self.inferer(images.to(self.device, torch.float32), self.network).to(images.device)
        return {name: found[:, [channel]] for channel, name in enumerate(self.structures)}

    def masks(self, images: Tensor) -> dict[str, Tensor]:
        """Masks `(B, 1, H, W)`, bool, by name: probabilities from the structure's threshold on. See `probabilities`."""
        return {name: p >= self.thresholds[name] for name, p in self.probabilities(images).items()}


def load_segmenter(
    bundle: str | Path = BUNDLE, *, device: str | torch.device = "cpu", flips: bool = True, amp: bool = False
) -> FundusSegmenter:
    """Load the segmenter of a bundle.

    Args:
        bundle: its name or folder, or `BUNDLE:CONFIG` for a further network of a bundle.
        device: where it runs.
        flips: average over four flips.
        amp: bfloat16, where the device computes in it.

    Raises:
        BundleNotFoundError: if there is no such bundle.
        WeightsError: if its weights are missing or changed, or it says neither `structures` nor `image_size`.
    """
    name, config_name = split_bundle_name(str(bundle))
    folder = find_bundle(name)
    config = read_inference_config(folder, config_name)
    if not config.get("structures") or not config.get("image_size"):
        raise WeightsError(
            f"bundle {folder} is no segmenter: its configs/{config_name}.json needs the keys `structures` and "
            "`image_size`"
        )
    if not (folder / (file := weights_file(config))).is_file():
        raise WeightsError(f"bundle {folder} has no {file}: train it (docs/README.md), or get it with weights")
    own = folder.name if config_name == "inference" else f"{folder.name}:{config_name}"
    return FundusSegmenter(
        load_network(folder, config_name=config_name),
        structures=config["structures"],
        image_size=int(config["image_size"]),
        thresholds=config.get("thresholds"),
        name=f"{own} {read_metadata(folder).get('version', '0')}",
        device=device,
        flips=flips,
        amp=amp,
    )


PathLike = str | os.PathLike[str]


def load_segmentation_data(
    datalist: PathLike | Mapping[str, Any] | Sequence[PathLike],
    dataset_dir: PathLike | None = None,
    *,
    structures: Sequence[str] = STRUCTURES,
) -> Datalist:
    """Load the photographs that have masks from one or several datalists.

    `idrid`, `hrf` and `chasedb1` are read from the folders of these names in `dataset_dir`, with soft masks for
    training and hard ones for validation and test. A set that is named twice is trained on twice as often. Photographs
    with none of the `structures` are left out; `DatalistError` if no training photograph is left.

    Returns:
        Datalist with `training`, `validation` and `test`, and `official_test`: those test photographs that are also
        in the official test set of IDRiD's segmentation task.
    """
    sources = [datalist] if isinstance(datalist, str | os.PathLike | Mapping) else list(datalist)
    loaded = [_load(source, dataset_dir) for source in sources]
    merged: Datalist = {
        section: [item for one in loaded for item in one[section] if any(key in item for key in structures)]
        for section in SECTIONS
    }
    if not merged["training"]:
        raise DatalistError(
            f"datalist={datalist!r}: no training photograph has a mask; items need at least one of the keys "
            f"{', '.join(structures)} with the path of a mask"
        )
    return {**merged, "official_test": official_test(merged["test"])}


def official_test(items: Sequence[Item]) -> list[Item]:
    """Those that are in the official test set of IDRiD's segmentation task."""
    return [item for item in items if os.path.basename(item["image"]).startswith("seg_test_IDRiD_")]


def _load(source: PathLike | Mapping[str, Any], dataset_dir: PathLike | None) -> Datalist:
    if dataset_dir is None or not isinstance(source, str) or source not in PREPARED_SETS:
        return load_datalist(source, dataset_dir)
    folder = Path(dataset_dir) / source
    folder = folder if folder.is_dir() else Path(dataset_dir)
    hard, soft = (PREPARED_SETS[source][1](folder, soft_masks=soft) for soft in (False, True))
    return {**hard, "training": soft["training"]}
