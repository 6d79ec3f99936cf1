"""Differentiable augmentation of what a discriminator sees (Karras et al. 2020, arXiv:2006.06676, appendix B).

Real and generated images are augmented alike, so that a discriminator with few photographs cannot learn them by heart;
as long as each operation is left out often enough, the generator does not imitate it (section 2.2 there).
Written from the paper's formulas, with two deviations: images are sampled bilinearly without oversampling, and what
comes from outside an image is black, as around the field of view of a photograph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_GEOMETRY = ("xflip", "rot90", "shift", "scale", "rotate", "stretch", "subpixel_shift")
_COLOUR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
AUGMENTATION_PRESETS: dict[str, tuple[str, ...]] = {
    "none": (),
    # The colour of a lesion is its diagnosis, so colours stay.
    "fundus": ("xflip", "shift", "scale", "rotate", "stretch", "subpixel_shift"),
    "geometry": _GEOMETRY,
    "all": _GEOMETRY + _COLOUR,
}
"""Operations by preset; `all` is the paper's "bgc"."""
_LUMA = 1 / math.sqrt(3)


class DiscriminatorAugment(nn.Module):
    """Augments square images `(B, 3, H, W)` in [-1, 1], each operation with probability `p`.

    Colour may leave the range. `p` and the counters of its adaptation (`AdaptiveAugmentHandler`) are buffers.

    Args:
        operations: a preset's name, or names of operations: xflip, rot90, shift, scale, rotate, stretch,
            subpixel_shift, brightness, contrast, lumaflip, hue, saturation.
        p: probability of each operation.

    Raises:
        ValueError: for an unknown operation, or `p` outside [0, 1].

    Examples:
        >>> augment = DiscriminatorAugment(operations="fundus", p=0.8)
        >>> augment(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 3, 16, 16])
    """

    p: Tensor
    signs: Tensor

    def __init__(self, *, operations: str | Sequence[str] = "fundus", p: float = 0.0) -> None:
        super().__init__()
        if isinstance(operations, str) and operations not in AUGMENTATION_PRESETS:
            raise ValueError(f"operations {operations!r} is no preset: choose one of {sorted(AUGMENTATION_PRESETS)}")
        names = AUGMENTATION_PRESETS[operations] if isinstance(operations, str) else tuple(operations)
        unknown = sorted(set(names) - set(AUGMENTATION_PRESETS["all"]))
        if unknown or not 0 <= p <= 1:
            raise ValueError(f"operations {unknown} are unknown" if unknown else f"p must be in [0, 1], got {p}")
        self.operations = names
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("signs", torch.zeros(2))  # sum of the statistic since the last adaptation, and its count

    def forward(self, images: Tensor) -> Tensor:
        """Augmented images, differentiable twice in `images`."""
        if any(name in self.operations for name in _GEOMETRY):
            images = _sample(images, self._geometry(len(images), images.shape[-1], images.device))
        if any(name in self.operations for name in _COLOUR):
            matrix = self._colour(len(images), images.device)
            images = torch.einsum("bij,bjhw->bihw", matrix[:, :, :3], images) + matrix[:, :, 3, None, None]
        return images

    def _geometry(self, batch: int, size: int, device: torch.device) -> Tensor:
        """Matrices `(B, 2, 3)` from places of the output to places of the input, in units of half an image."""
        g = torch.eye(3, device=device).repeat(batch, 1, 1)
        if (flip := self._gate("xflip", batch, device)) is not None:
            g = g @ _scaling(1 - 2 * flip * torch.randint(0, 2, (batch,), device=device), torch.ones_like(flip))
        if (turn := self._gate("rot90", batch, device)) is not None:
            g = g @ _rotation(turn * torch.randint(0, 4, (batch,), device=device) * (math.pi / 2))
        if (shift := self._gate("shift", batch, device)) is not None:
            pixels = ((torch.rand(2, batch, device=device) * 2 - 1) * 0.125 * size).round() * (2 / size)
            g = g @ _translation(*(pixels * shift))
        if (zoom := self._gate("scale", batch, device)) is not None:
            factor = torch.exp2(torch.randn(batch, device=device) * 0.2 * zoom)
            g = g @ _scaling(factor, factor)
        # Rotation before and after the stretch, each with a probability that together makes p.
        half = 1 - torch.sqrt((1 - self.p).clamp(min=0))
        if (turn := self._gate("rotate", batch, device, half)) is not None:
            g = g @ _rotation((torch.rand(batch, device=device) * 2 - 1) * math.pi * turn)
        if (stretch := self._gate("stretch", batch, device)) is not None:
            factor = torch.exp2(torch.randn(batch, device=device) * 0.2 * stretch)
            g = g @ _scaling(factor, 1 / factor)
        if (turn := self._gate("rotate", batch, device, half)) is not None:
            g = g @ _rotation((torch.rand(batch, device=device) * 2 - 1) * math.pi * turn)
        if (shift := self._gate("subpixel_shift", batch, device)) is not None:
            g = g @ _translation(*(torch.randn(2, batch, device=device) * 0.125 * 2 * shift))
        return g[:, :2]

    def _colour(self, batch: int, device: torch.device) -> Tensor:
        """Affine maps `(B, 3, 4)` of colours."""
        c = torch.eye(4, device=device).repeat(batch, 1, 1)
        axis = torch.full((3,), _LUMA, device=device)
        luma = torch.outer(axis, axis)
        if (on := self._gate("brightness", batch, device)) is not None:
            offset = torch.zeros(batch, 4, 4, device=device)
            offset[:, :3, 3] = (torch.randn(batch, device=device) * 0.2 * on)[:, None]
            c = (torch.eye(4, device=device) + offset) @ c
        if (on := self._gate("contrast", batch, device)) is not None:
            factor = torch.exp2(torch.randn(batch, device=device) * 0.5 * on)
            c = _linear(torch.eye(3, device=device) * factor[:, None, None]) @ c
        if (on := self._gate("lumaflip", batch, device)) is not None:
            flip = on * torch.randint(0, 2, (batch,), device=device)
            c = _linear(torch.eye(3, device=device) - 2 * luma * flip[:, None, None]) @ c
        if (on := self._gate("hue", batch, device)) is not None:
            c = _linear(_about(axis, (torch.rand(batch, device=device) * 2 - 1) * math.pi * on)) @ c
        if (on := self._gate("saturation", batch, device)) is not None:
            factor = torch.exp2(torch.randn(batch, device=device) * on)[:, None, None]
            c = _linear(luma + (torch.eye(3, device=device) - luma) * factor) @ c
        return c[:, :3]

    def _gate(self, name: str, batch: int, device: torch.device, p: Tensor | None = None) -> Tensor | None:
        """1 for the images that the operation applies to, 0 for the others; `None` where it is switched off."""
        if name not in self.operations:
            return None
        return (torch.rand(batch, device=device) < (self.p if p is None else p)).float()


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(list(row), dim=-1) for row in rows], dim=-2)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def _translation(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _rotation(angle: Tensor) -> Tensor:
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    return _matrix([[angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero], [zero, zero, one]])


def _linear(matrix: Tensor) -> Tensor:
    """`(B, 3, 3)` as `(B, 4, 4)` without offset."""
    out = torch.eye(4, device=matrix.device).repeat(len(matrix), 1, 1)
    out[:, :3, :3] = matrix
    return out


def _about(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotations `(B, 3, 3)` of colours about an axis (Rodrigues)."""
    x, y, z = axis.tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], device=axis.device)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return torch.eye(3, device=axis.device) * cos + cross * sin + torch.outer(axis, axis) * (1 - cos)


def _sample(images: Tensor, matrix: Tensor) -> Tensor:
    """Bilinear sampling, black (-1) outside.

    By gathering the four neighbours and not by `grid_sample`, whose second derivative older versions of torch lack.
    """
    batch, channels, height, width = images.shape
    grid = nn.functional.affine_grid(matrix, [batch, channels, height, width], align_corners=False)
    x, y = ((grid[..., 0] + 1) * width - 1) / 2, ((grid[..., 1] + 1) * height - 1) / 2
    left, top = x.floor(), y.floor()
    padded = nn.functional.pad(images + 1, (1, 1, 1, 1)).flatten(2)
    total: Tensor | float = -1.0
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = left + dx, top + dy
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            index = (row.clamp(-1, height) + 1) * (width + 2) + column.clamp(-1, width) + 1
            index = index.long().flatten(1)[:, None].expand(-1, channels, -1)
            total = total + padded.gather(2, index).view_as(images) * weight[:, None]
    return torch.as_tensor(total)


class FadingBlur(nn.Module):
    r"""Blurs `(B, C, H, W)` with a kernel :math:`2^{-(k / \sigma)^2}, |k| \le 3 \sigma`, sigma falling linearly to 0.

    Goes before the augmentation in `AlternatingTrainer(augment=...)`; `FadingBlurHandler` tells it how many images the
    discriminator has seen. Without it the discriminator of configuration R turns to high frequencies before the
    generator has learned the low ones (Karras et al. 2021, arXiv:2106.12423, section F.3).

    Args:
        images: images until it is gone; 0 never blurs, for a training that starts from trained networks.
        sigma: width at the beginning, in pixels.

    Raises:
        ValueError: for negative arguments.

    Examples:
        >>> blur = FadingBlur(images=1000, sigma=10.0)
        >>> blur.seen(900); round(blur.width, 4)
        1.0
    """

    def __init__(self, *, images: float, sigma: float = 10.0) -> None:
        super().__init__()
        if images < 0 or sigma < 0:
            raise ValueError(f"images {images} and sigma {sigma} must not be negative")
        self.images, self.sigma = images, sigma
        self.width = sigma if images else 0.0

    def seen(self, images: float) -> None:
        """Set the width for so many images seen."""
        self.width = self.sigma * max(1 - images / self.images, 0.0) if self.images else 0.0

    def forward(self, images: Tensor) -> Tensor:
        reach = math.floor(3 * self.width)
        if reach < 1:
            return images
        places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp2(-(places / self.width).square())
        kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
        images = nn.functional.conv2d(images, kernel[:, :, None], padding=(0, reach), groups=images.shape[1])
        return nn.functional.conv2d(images, kernel[..., None], padding=(reach, 0), groups=images.shape[1])
