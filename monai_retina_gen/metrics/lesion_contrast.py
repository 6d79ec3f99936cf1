"""How much of the contrast of real lesions painted ones have: a painter that is unsure paints them faint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor

from monai_retina_gen.metrics.base import FundusMetric, OutputTransform
from monai_retina_gen.networks.lesion_painter import COVERED


def lesion_contrast(images: Tensor, lesions: Tensor, around: Tensor) -> Tensor:
    """Mean of the green channel in lesions less that of their surroundings, `(B, L)`.

    Args:
        images: `(B, 3, H, W)`.
        lesions: `(B, L, H, W)` soft masks of L lesions.
        around: `(B, 1, H, W)` neighbourhood of the lesions, as the holes in which they were drawn; where any lesion is,
            it does not count.

    Returns:
        NaN where an image lacks a lesion or its surroundings.
    """
    inside = lesions >= COVERED
    outside = (around >= 0.5) & ~inside.any(1, keepdim=True)
    green = images[:, 1:2]
    return _mean(green, inside) - _mean(green, outside)


class LesionContrast(FundusMetric):
    """Ignite metric of the painted lesions' contrast as a share of the real ones', for each lesion.

    `compute` gives `contrast_<name>` of every lesion that occurs: 1 is as strong as in the photographs.

    Args:
        lesions: names, in order.
        output_transform: from an engine's output to `(painted, photographs, masks, around)`, see `lesion_contrast`.
        device: where the sums are kept.
    """

    def __init__(
        self,
        *,
        lesions: Sequence[str],
        output_transform: OutputTransform = lambda x: x,
        device: str | torch.device = "cpu",
    ) -> None:
        self.lesions = tuple(lesions)
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._sums = torch.zeros(2, len(self.lesions), dtype=torch.float64, device=self._device)

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        painted, photographs, masks, around = (x.detach() for x in output)
        both = torch.stack([lesion_contrast(x, masks, around) for x in (painted, photographs)])
        self._sums += both.nan_to_num(0).sum(1).to(self._sums)

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, float]:
        return {
            f"contrast_{name}": float(painted / real)
            for name, painted, real in zip(self.lesions, *self._sums, strict=True)
            if real != 0
        }


def _mean(values: Tensor, places: Tensor) -> Tensor:
    return (values * places).sum((2, 3)) / places.sum((2, 3))
