"""A trained segmenter as one call: from photographs to masks of lesions, optic disc and vessels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_retina_gen.engines.window_inferer import FlippedWindowInferer
from monai_retina_gen.errors import ImageValueError, WeightsError
from monai_retina_gen.weights import (
    find_bundle,
    load_network,
    read_inference_config,
    read_metadata,
    split_bundle_name,
    weights_file,
)

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

    Examples:
        >>> from monai_retina_gen.networks import LesionSegmenter
        >>> network = LesionSegmenter(structures=["ex"], channels=(4, 8, 8))
        >>> segment = FundusSegmenter(network, structures=["ex"], image_size=64)
        >>> segment.probabilities(torch.rand(2, 3, 64, 64))["ex"].shape
        torch.Size([2, 1, 64, 64])
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
        """Probability of each structure.

        Args:
            images: `(B, 3, H, W)` in [0, 1], cropped to the field of view (`CropToFieldOfView`) at about `image_size`;
                other sizes are computed as they are, and lesions look larger or smaller than those learned.

        Returns:
            `(B, 1, H, W)` float32 by name of the structure, on the device of `images`.

        Raises:
            ImageValueError: for another shape or values outside [0, 1].
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
