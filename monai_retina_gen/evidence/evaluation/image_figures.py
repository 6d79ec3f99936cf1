"""Figures of images without a feature extractor: sliced Wasserstein distance and diversity, beside photographs."""

from __future__ import annotations

import logging
import math
import statistics
import warnings
from typing import Any

import torch

from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.metrics import field_of_view_ms_ssim, lpips_distance, pair_diversity, sliced_wasserstein_distance
from monai_retina_gen.metrics.base import plain
from monai_retina_gen.metrics.evaluation import FEW_IMAGES, random_halves
from monai_retina_gen.weights import state_sha256

logger = logging.getLogger(__name__)
SPLITS = 3
WINDOWS = (11, 9, 7, 5, 3)
LPIPS_NETWORK = "lpips 0.1 alex"


def sliced_wasserstein_figure(real: ImageSet, generated: ImageSet, *, seed: int = 0) -> dict[str, Any]:
    """Sliced Wasserstein distance (times 1000) at equal n, per level and mean, with its real-against-real floor.

    The floor compares one random half of the photographs with the other; `value_at_floor_n` as many samples with the
    same halves, so that the ratio never compares figures of different n.
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

    A figure that cannot be had says why under `skipped`. LPIPS, which may download its network, is taken only if asked.
    """
    options = {"pairs": pairs, "seed": seed}
    return {"ms_ssim": _ms_ssim(real, generated, options), "lpips": _lpips(real, generated, options, lpips)}


def _both(real: ImageSet, generated: ImageSet, figure: Any, options: dict[str, int]) -> dict[str, Any]:
    found = {}
    for name, images in (("real", real), ("generated", generated)):
        groups = torch.tensor(images.grades)
        found[name] = pair_diversity(images.floats(), figure, groups=groups, **options).as_dict()
    return found


def _ms_ssim(real: ImageSet, generated: ImageSet, options: dict[str, int]) -> dict[str, Any]:
    side = math.floor(real.size / math.sqrt(2))
    window = next((w for w in WINDOWS if side > 16 * (w - 1)), None)
    if window is None:
        return {"skipped": f"images of {real.size} pixels are too small for five scales"}
    both = _both(real, generated, lambda a, b: field_of_view_ms_ssim(a, b, win_size=window), options)
    return {**both, "window": window, "reading": "lower is more diverse; compare with the photographs' own"}


def _lpips(real: ImageSet, generated: ImageSet, options: dict[str, int], wanted: bool) -> dict[str, Any]:
    if not wanted:
        return {"skipped": "not asked for"}
    try:
        network = _lpips_network()
        both = _both(real, generated, lambda a, b: lpips_distance(a, b, network), options)
    except Exception as error:  # an optional figure: its download, package or cache must not end an evaluation
        logger.warning("LPIPS is left out: %s: %s", type(error).__name__, error)
        return {"skipped": f"{type(error).__name__}: {error}"}
    reading = "higher is more diverse; compare with the photographs' own"
    return {**both, "network": LPIPS_NETWORK, "network_sha256": state_sha256(network.state_dict()), "reading": reading}


def _lpips_network() -> torch.nn.Module:
    import lpips

    with warnings.catch_warnings():  # lpips calls torchvision by an argument that is deprecated
        warnings.simplefilter("ignore")
        network: torch.nn.Module = lpips.LPIPS(net="alex", verbose=False)
    return network.eval().requires_grad_(False)
