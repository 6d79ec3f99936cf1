"""The last real images of a training, to be searched for the nearest to a generated one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["RealQueue"]

KEY_SIZE = 16
"""Side of the small copies that are compared: layout and colour decide which eye is the nearest."""


class RealQueue(nn.Module):
    """A ring of real images in 8 bits, with small copies to search and their grades. All of it is state.

    Args:
        size: images that are kept.
        image_size: their side.

    Raises:
        ValueError: for a size below 1.

    Examples:
        >>> queue = RealQueue(size=4, image_size=32)
        >>> black, white = -torch.ones(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
        >>> queue.push(torch.cat([black, white]), torch.tensor([0, 1]))
        >>> queue.nearest(0.5 * white, torch.tensor([1])).mean()
        tensor(1.)
        >>> queue.nearest(0.5 * white, torch.tensor([0])).mean()  # a photograph of another grade is not its neighbour
        tensor(-1.)
    """

    images: Tensor
    keys: Tensor
    grades: Tensor
    pushed: Tensor

    def __init__(self, *, size: int = 256, image_size: int = 256) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size of the queue must be at least 1, got {size}")
        self.size = size
        self.register_buffer("images", torch.zeros(size, 3, image_size, image_size, dtype=torch.uint8))
        self.register_buffer("keys", torch.full((size, 3 * KEY_SIZE**2), float("inf")))  # an empty place is far away
        self.register_buffer("grades", torch.full((size,), -1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, images: Tensor, grades: Tensor | None = None) -> None:
        """Put `(B, 3, H, W)` images in [-1, 1] in the places of the oldest ones."""
        images = images[-self.size :]
        places = (self.pushed + torch.arange(len(images), device=self.pushed.device)) % self.size
        self.images[places] = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        self.keys[places] = _key(images)
        self.grades[places] = -1 if grades is None else grades[-self.size :]
        self.pushed += len(images)

    @torch.no_grad()
    def nearest(self, images: Tensor, grades: Tensor | None = None) -> Tensor:
        """The nearest real image to each, `(B, 3, H, W)` in [-1, 1]; of the same grade where the queue has one."""
        away = torch.cdist(_key(images), self.keys.nan_to_num(posinf=1e4))
        if grades is not None:
            # Farther than any image of the same grade, and still nearer than an empty place.
            away = away + 1e3 * (grades[:, None] != self.grades)
        return self.images[away.argmin(1)].float() / 127.5 - 1


def _key(images: Tensor) -> Tensor:
    return nn.functional.adaptive_avg_pool2d(images.float(), KEY_SIZE).flatten(1)
