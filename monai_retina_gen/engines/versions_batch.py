"""Batches of eyes that show different amounts of their lesions, for training a StyleGAN3 together with its encoders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from monai_retina_gen.engines.prepare_batch import Place, PrepareOnDevice


class PrepareVersionsBatch(PrepareOnDevice):
    """Each eye twice, with its lesions at two strengths: real images, and what `StyleAutoencoder` makes them of.

    A version with lesions is the clean eye and what they change; changes of several versions are added, each times an
    amount. `eye`, from which detail is read, shows where lesions are; the photograph, from which styles are read and
    which is to be drawn, how strong they are: so styles learn amounts, and detail learns places.

    Both are mirrored, turned and enlarged alike. What is drawn depends on the random state of the device alone.

    Args:
        photographs: rows of a batch that are reconstructed; `None` for all.
        shown: share of the versions whose lesions are shown.
        faintest: smallest amount in the eye that detail is read from; the largest is 1.
        strongest: largest amount in the photograph that is drawn.
        equal: share of rows in which both show the same.
        mirror: share of eyes that are mirrored: a left eye is a right one in the mirror.
        turned: share of eyes that are turned and enlarged.
        degrees: largest angle.
        zoom: largest change of size.
        supervised: give what `SupervisedTrainer` takes: `(photograph, {"image", "eye"}, (eye,), {})`.

    Returns:
        `(real (B, 3, S, S) in [-1, 1], {"grade": (B,), "photograph": (N, 3, S, S), "eye": (N, 3, S, S)})`.

    Examples:
        >>> batch = {"versions": torch.zeros(3, 4, 3, 8, 8, dtype=torch.uint8), "grades": torch.zeros(3, 4).long()}
        >>> real, condition = PrepareVersionsBatch(photographs=2)(batch, "cpu")
        >>> real.shape, condition["eye"].shape, condition["grade"].shape
        (torch.Size([3, 3, 8, 8]), torch.Size([2, 3, 8, 8]), torch.Size([3]))
    """

    def __init__(
        self,
        *,
        photographs: int | None = None,
        shown: float = 0.35,
        faintest: float = 0.4,
        strongest: float = 1.4,
        equal: float = 0.3,
        mirror: float = 0.5,
        turned: float = 0.5,
        degrees: float = 10.0,
        zoom: float = 0.04,
        supervised: bool = False,
    ) -> None:
        self.photographs, self.shown, self.supervised = photographs, shown, supervised
        self.faintest, self.strongest, self.equal = faintest, strongest, equal
        self.mirror, self.turned, self.degrees, self.zoom = mirror, turned, degrees, zoom

    def read(self, batch: Mapping[str, Any], place: Place) -> Any:
        stacks, grades = place(batch["versions"]), place(batch["grades"])
        amounts, most = self._amounts(len(stacks), stacks.shape[1] - 1, stacks.device)
        images = stacks.float() / 255
        change = images[:, 1:] - images[:, :1]
        views = [images[:, 0] + torch.einsum("bv,bvchw->bchw", each, change) for each in amounts]
        first, second = self._moved(torch.cat(views, dim=1).clamp(0, 1)).mul(2).sub(1).chunk(2, dim=1)
        if self.supervised:
            return first, {"image": first, "eye": second}, (second,), {}
        grade = grades.gather(1, most[:, None])[:, 0].long()
        few = slice(self.photographs)
        return first, {"grade": grade, "photograph": first[few], "eye": second[few]}

    def _amounts(self, rows: int, count: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Amounts `(B, V - 1)` of each version in photograph and eye, and which shows most; 0 for the clean eye."""
        shown = (torch.rand(rows, count, device=device) < self.shown).float()
        eye = shown * (self.faintest + (1 - self.faintest) * torch.rand(rows, count, device=device))
        drawn = shown * self.strongest * torch.rand(rows, count, device=device)
        photograph = torch.where(torch.rand(rows, 1, device=device) < self.equal, eye, drawn)
        largest, index = photograph.max(1)
        return (photograph, eye), torch.where(largest > 0, index + 1, 0)

    def _moved(self, images: Tensor) -> Tensor:
        """Mirrored, turned and enlarged; black comes from outside, and what is not turned stays sharp."""
        draw = torch.rand(4, len(images), device=images.device)
        on = (draw[0] < self.turned).float()
        angle = (draw[1] * 2 - 1) * on * math.radians(self.degrees)
        scale = 1 + (draw[2] * 2 - 1) * on * self.zoom
        flip = torch.where(draw[3] < self.mirror, -1.0, 1.0)
        zero = torch.zeros_like(angle)
        rows = [angle.cos() * scale * flip, -angle.sin() * scale, zero, angle.sin() * scale * flip]
        matrix = torch.stack([*rows, angle.cos() * scale, zero], dim=1).view(-1, 2, 3)
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, mode="bicubic", align_corners=False).clamp(0, 1)


class VersionsInferer(Inferer):
    """`network.reconstruct(photograph, eye)`, for trainers of a `StyleAutoencoder`."""

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """See `StyleAutoencoder.reconstruct`."""
        made: Tensor = network.reconstruct(inputs, *args, **kwargs)  # type: ignore[operator]
        return made
