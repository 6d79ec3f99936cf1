"""What metrics share: checks of images and features, a base class for Ignite and MONAI, a figure with its statement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.networks.utils import eval_mode
from monai.utils import convert_to_tensor
from torch import Tensor, nn

from monai_retina_gen.errors import ImageValueError

FeatureExtractor = nn.Module | Callable[[Tensor], Tensor]
OutputTransform = Callable[[Any], Any]


class FundusMetric(Metric):
    """Ignite `Metric` with the three methods of MONAI's cumulative metrics.

    `metric.attach(engine, name)` is the direct way; `IgniteMetricHandler(metric_fn=metric)` gives the same figure.
    """

    def __call__(self, y_pred: Tensor, y: Tensor) -> None:
        """MONAI's name of `update`."""
        self.update((y_pred, y))

    def aggregate(self) -> Any:
        """MONAI's name of `compute`."""
        return self.compute()

    def get_buffer(self) -> None:
        """MONAI's details per image: none are kept."""

    @staticmethod
    def _plain(output: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The batch without gradients and without MONAI's metadata, which every operation would carry along."""
        return tuple(convert_to_tensor(item, track_meta=False).detach() for item in output)

    def _gather(self, parts: list[Tensor]) -> Tensor:
        """Rows of all batches of all processes, in order of rank; processes may hold different numbers."""
        rows = torch.cat(parts) if parts else None
        if idist.get_world_size() > 1:
            own = None if rows is None else rows.cpu().numpy()
            gathered = [torch.as_tensor(x) for x in idist.all_gather(own) if x is not None]
            rows = torch.cat(gathered).to(self._device) if gathered else None
        if rows is None:
            raise NotComputableError(f"{type(self).__name__} has seen no images: run an epoch before compute()")
        return rows


def plain(value: Any) -> Any:
    """Plain JSON value of tensors, mappings, tuples and floats; None for what is not finite."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class PlainValues:
    """A dataclass of figures that JSON can hold."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where a figure is undefined."""
        return {name: plain(value) for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class MetricResult(PlainValues):
    """One figure of generated against real features.

    Attributes:
        extractor_sha256: sha256 of the extractor's weights; empty for a function without weights.
        dimension: number of features, d.
        std: spread over subsets (KID); nan where there is none.
        p_value: of a permutation test that both sets come from one distribution (KID); nan where there is none.
        floor_n: images in each set behind the next four figures; 0 where the sets are too small to split.
        floor: mean figure of one random half of the real images against the other, over seeded splits.
        floor_std: its standard deviation over the splits.
        value_at_floor_n: mean figure of as many generated images against the same halves.
        ratio_to_floor: `value_at_floor_n / floor`, both at equal n; nan for unbiased figures around 0 (KID).
        warnings: what the reader must know, in sentences.
    """

    name: str
    value: float
    n_real: int
    n_generated: int
    extractor: str
    extractor_sha256: str
    dimension: int
    std: float = math.nan
    p_value: float = math.nan
    floor_n: int = 0
    floor: float = math.nan
    floor_std: float = math.nan
    value_at_floor_n: float = math.nan
    ratio_to_floor: float = math.nan
    warnings: tuple[str, ...] = ()


def check_features(real: Tensor, generated: Tensor, minimum: int = 2) -> tuple[Tensor, Tensor]:
    """Both sets, (n, d) and (m, d), as float64, or a `ValueError` that says what is wrong with which."""
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or features.shape[1] == 0:
            raise ValueError(f"{name} has shape {tuple(features.shape)}: pass features of shape (n, d)")
        if len(features) < minimum:
            raise ValueError(f"{name} has n = {len(features)} features: this metric needs at least {minimum}")
        if not bool(torch.isfinite(features).all()):
            raise ValueError(f"{name} holds NaN or infinite features: check the images and the extractor")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"real has d = {real.shape[1]} and generated d = {generated.shape[1]}: use one extractor for both"
        )
    return real.detach().double(), generated.detach().double().to(real.device)


def extract_features(images: Tensor, feature_extractor: FeatureExtractor) -> Tensor:
    """(B, d) features of (B, C, H, W) images in [0, 1], in evaluation mode and without gradients."""
    with eval_mode(*([feature_extractor] if isinstance(feature_extractor, nn.Module) else [])):
        features = feature_extractor(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
        came = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"feature_extractor gave {came} for {len(images)} images: it must give (B, d) features")
    return features.detach()


def check_images(name: str, images: Tensor) -> Tensor:
    """The images as they came, or an `ImageValueError`: want (B, C, H, W), floating, within [0, 1]."""
    if images.ndim != 4 or images.numel() == 0 or not images.is_floating_point():
        raise ImageValueError(
            f"{name} is {images.dtype} of shape {tuple(images.shape)}: pass float images (B, C, H, W)"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise ImageValueError(f"{name} has values in [{low:.4g}, {high:.4g}]: pass images in [0, 1]")
    return images


def check_image_pair(preds: Tensor, target: Tensor) -> None:
    """`check_images` of both, and of their equal shape."""
    check_images("preds", preds)
    check_images("target", target)
    if preds.shape != target.shape:
        raise ImageValueError(
            f"preds has shape {tuple(preds.shape)} and target {tuple(target.shape)}: pass images in pairs"
        )
