"""Base of the package's metrics: an Ignite `Metric` that MONAI's `IgniteMetricHandler` can hold as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.utils import convert_to_tensor
from torch import Tensor

OutputTransform = Callable[[Any], Any]


class FundusMetric(Metric):
    """Ignite `Metric` with the three methods of MONAI's cumulative metrics.

    `metric.attach(engine, name)` is the direct way; where a configuration asks for a MONAI handler,
    `IgniteMetricHandler(metric_fn=metric)` gives the same figure.
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
