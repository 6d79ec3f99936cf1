"""Figures of images without a feature extractor: sliced Wasserstein distance and diversity, beside photographs."""

from __future__ import annotations

import logging
import math
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch

from monai_retina_gen.metrics import field_of_view_ms_ssim, lpips_distance, pair_diversity, sliced_wasserstein_distance
from monai_retina_gen.metrics.base import plain
from monai_retina_gen.metrics.evaluation import FEW_IMAGES, random_halves
from monai_retina_gen.weights import state_sha256

from .image_sets import ImageSet

logger = logging.getLogger(__name__)
SPLITS = 3
WINDOWS = (11, 9, 7, 5, 3)


def sliced_wasserstein_figure(real: ImageSet, generated: ImageSet, *, seed: int = 0) -> dict[str, Any]:
    """Sliced Wasserstein distance (times 1000) at equal n, per level and mean, with its real-against-real floor.

    The floor compares random halves of the photographs, `value_at_floor_n` as many samples with the same halves.
    """
    n = min(len(real), len(generated))
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)) for x in (real, generated)]
    levels = sliced_wasserstein_distance(real.images[orders[0][:n]], generated.images[orders[1][:n]], seed=seed)
    floor_n = min(len(real) // 2, len(generated))
    floors, values = [], []
    for half, other, chosen in random_halves(real.images, generated.images, SPLITS if floor_n else 0, seed):
        floors.append(sliced_wasserstein_distance(half, other, seed=seed)["swd_mean"])
        values.append(sliced_wasserstein_distance(half, chosen, seed=seed)["swd_mean"])
    floor, value = (statistics.fmean(x) if x else math.nan for x in (floors, values))
    few = [f"{n} images in each set: under {FEW_IMAGES}, no figure is reliable"] if n < FEW_IMAGES else []
    return {
        "name": "swd",
        "value": levels["swd_mean"],
        "levels": levels,
        "n_real": n,
        "n_generated": n,
        "extractor": "7x7 patches of a Laplacian pyramid",
        "extractor_sha256": "",
        "dimension": 147,
        "floor_n": floor_n,
        "floor": plain(floor),
        "value_at_floor_n": plain(value),
        "ratio_to_floor": value / floor if floor > 0 else None,
        "warnings": few,
    }


def diversity_figures(
    real: ImageSet, generated: ImageSet, *, pairs: int = 200, seed: int = 0, lpips: bool = False
) -> dict[str, Any]:
    """MS-SSIM (in the field of view) and LPIPS over random pairs within a grade, of samples and of photographs.

    A figure that cannot be had, or is not asked for, says why under `skipped`.
    """

    def both(figure: Any) -> dict[str, Any]:
        return {
            name: pair_diversity(
                images.floats(), figure, groups=torch.tensor(images.grades), pairs=pairs, seed=seed
            ).as_dict()
            for name, images in (("real", real), ("generated", generated))
        }

    return {"ms_ssim": _ms_ssim(real.size, both), "lpips": _lpips(both) if lpips else {"skipped": "not asked for"}}


def _ms_ssim(size: int, both: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    side = math.floor(size / math.sqrt(2))
    window = next((w for w in WINDOWS if side > 16 * (w - 1)), None)
    if window is None:
        return {"skipped": f"images of {size} pixels are too small for five scales"}
    found = both(lambda a, b: field_of_view_ms_ssim(a, b, win_size=window))
    return {**found, "window": window, "reading": "lower is more diverse; compare with the photographs' own"}


def _lpips(both: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    try:
        network = _lpips_network()
        found = both(lambda a, b: lpips_distance(a, b, network))
    except Exception as error:  # an optional figure: its download, package or cache must not end an evaluation
        logger.warning("LPIPS is left out: %s: %s", type(error).__name__, error)
        return {"skipped": f"{type(error).__name__}: {error}"}
    sha256, reading = state_sha256(network.state_dict()), "higher is more diverse; compare with the photographs' own"
    return {**found, "network": "lpips 0.1 alex", "network_sha256": sha256, "reading": reading}


def _lpips_network() -> torch.nn.Module:
    import lpips

    with warnings.catch_warnings():  # lpips calls torchvision by an argument that is deprecated
        warnings.simplefilter("ignore")
        network: torch.nn.Module = lpips.LPIPS(net="alex", verbose=False)
    return network.eval().requires_grad_(False)
