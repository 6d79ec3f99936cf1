"""Classic augmentation of a whole batch on its device.

MONAI's and torchvision's random transforms draw once for what they are given: image by image they take several times as
long as a step of a small network, and a batch at once would get one angle.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LUMA = (0.299, 0.587, 0.114)


class GradingAugment(nn.Module):
    """Flips, turns, scales, shifts and recolours each image by its own draw; black stays black.

    All operations together on every image ("mixed"): flips with a probability of one half each, the others uniformly
    within their range. Drawn from torch's global state on the CPU, so that devices agree.

    Args:
        flip: mirror images, across and down.
        rotate: largest angle in degrees, either way.
        scale: largest change of the size, as a share.
        shift: largest shift, as a share of the side.
        colour: largest change of brightness, of contrast (an exponent) and of saturation, as a share.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1]; output alike, on the same device; what comes from outside is black.

    Raises:
        ValueError: for a range outside its limits.

    Examples:
        >>> augment = GradingAugment()
        >>> augment(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self, *, flip: bool = True, rotate: float = 30.0, scale: float = 0.1, shift: float = 0.04, colour: float = 0.2
    ) -> None:
        super().__init__()
        if not (0 <= rotate <= 180 and all(0 <= share < 1 for share in (scale, shift, colour))):
            raise ValueError(
                f"rotate={rotate}, scale={scale}, shift={shift}, colour={colour}: want degrees up to 180, and shares "
                "from 0 to below 1"
            )
        self.flip, self.rotate, self.scale, self.shift, self.colour = flip, rotate, scale, shift, colour

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        flips = torch.randint(0, 2, (2, len(image))) * 2.0 - 1
        flips = flips if self.flip else flips.abs()
        draws = torch.cat([flips, torch.rand(7, len(image)) * 2 - 1]).to(image.device)
        return self._recolour(self._move(image, draws), draws[6:])

    def _move(self, image: Tensor, draws: Tensor) -> Tensor:
        angle = draws[2] * math.radians(self.rotate)
        zoom = torch.exp(draws[3] * math.log1p(self.scale))
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        across = torch.stack([cos * draws[0], -sin * draws[1], 2 * self.shift * draws[4]], 1)
        down = torch.stack([sin * draws[0], cos * draws[1], 2 * self.shift * draws[5]], 1)
        grid = nn.functional.affine_grid(torch.stack([across, down], 1), list(image.shape), align_corners=False)
        return nn.functional.grid_sample(image, grid.to(image.dtype), align_corners=False)

    def _recolour(self, image: Tensor, draws: Tensor) -> Tensor:
        brightness, exponent, saturation = (1 + self.colour * draws)[:, :, None, None, None]
        image = (image * brightness).clamp(0, 1) ** exponent
        grey = (image * image.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        return (grey + (image - grey) * saturation).clamp(0, 1)
