"""LPIPS (Zhang et al. 2018, arXiv:1801.03924): distance of pairs, and diversity within a grade."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.networks.utils import eval_mode
from torch import Tensor, nn

from monai_retina_gen.metrics.diversity import Diversity, DiversityMetric, pair_diversity
from monai_retina_gen.metrics.image_pairs import PairMetric, check_image_pair

__all__ = ["LpipsDistance", "LpipsDiversity", "PerceptualNetwork", "lpips_distance", "lpips_diversity"]

PerceptualNetwork = nn.Module | Callable[[Tensor, Tensor], Tensor]


def lpips_distance(preds: Tensor, target: Tensor, network: PerceptualNetwork) -> Tensor:
    """Perceptual distance of each pair of images.

    Args:
        preds: (B, C, H, W) in [0, 1].
        target: (B, C, H, W) in [0, 1].
        network: takes two batches **in [-1, 1]** and gives one figure a pair, as `lpips.LPIPS` does; a
            network runs in evaluation mode.

    Returns:
        (B,) distances; 0 for identical images.

    Raises:
        monai_retina_gen.errors.ImageValueError: for images of another kind or unequal shapes.
        ValueError: if the network does not give one figure a pair.

    Examples:
        >>> import torch
        >>> absolute = lambda a, b: (a - b).abs().mean(dim=(1, 2, 3), keepdim=True)
        >>> lpips_distance(torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), absolute)
        tensor([2., 2.])
    """
    check_image_pair(preds, target)
    with eval_mode(*([network] if isinstance(network, nn.Module) else [])):
        values = network(preds * 2 - 1, target * 2 - 1)
    if values.numel() != len(preds):
        raise ValueError(f"network gave {tuple(values.shape)} for {len(preds)} pairs: it must give one figure each")
    return values.detach().reshape(len(preds))


def lpips_diversity(images: Tensor, network: PerceptualNetwork, **options: Any) -> Diversity:
    """Mean LPIPS over random pairs within each group: higher is more diverse.

    Compare it with the figure of real photographs of the same grades, and report the pairs.

    Args:
        images: (n, C, H, W) in [0, 1].
        network: see `lpips_distance`.
        **options: `groups`, `pairs` (1000), `seed` and `batch_size` of `pair_diversity`.

    Raises:
        ValueError: as `pair_diversity` and `lpips_distance`.

    Examples:
        >>> import torch
        >>> absolute = lambda a, b: (a - b).abs().mean(dim=(1, 2, 3))
        >>> images = torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, 8, 8)
        >>> lpips_diversity(images, absolute, groups=torch.tensor([0, 0, 1])).per_group
        {0: 1.0, 1: nan}
    """
    return pair_diversity(images, lambda a, b: lpips_distance(a, b, network), **options)


class LpipsDistance(PairMetric):
    """Ignite metric of `lpips_distance`: mean over all pairs.

    Args:
        network: see `lpips_distance`. Move it to the device of the images.
        **kwargs: `output_transform` and `device` of `PairMetric`.
    """

    def __init__(self, *, network: PerceptualNetwork, **kwargs: Any) -> None:
        self.network = network
        super().__init__(**kwargs)

    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        return lpips_distance(preds, target, self.network)


class LpipsDiversity(DiversityMetric):
    """Ignite metric of `lpips_diversity`: the mean over grades.

    Args:
        network: see `lpips_distance`; must be on `device`, where the images are kept.
        **kwargs: `pairs`, `seed`, `output_transform` and `device` of `DiversityMetric`.
    """

    def __init__(self, *, network: PerceptualNetwork, **kwargs: Any) -> None:
        self.network = network
        super().__init__(**kwargs)

    def _per_pair(self, preds: Tensor, target: Tensor) -> Tensor:
        return lpips_distance(preds, target, self.network)
