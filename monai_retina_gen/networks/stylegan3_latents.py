"""Latents of a StyleGAN3 for inversion: styles with the pose held, and the spread of w and of the styles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["latent_statistics", "pinned_styles"]


def pinned_styles(network: Any, ws: Tensor) -> list[Tensor]:
    """Styles of latents `(B, num_ws, w_dim)` with the input's rotation and translation held at those of the mean."""
    styles: list[Tensor] = network.styles(ws)
    pose = network.synthesis.input.affine(network.w_avg[None])
    return [pose.expand(len(ws), -1), *styles[1:]]


@torch.no_grad()
def latent_statistics(network: Any, *, samples: int = 1000, seed: int = 123) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and spread of w, and deviations of the styles, over fixed latents, all grades alike.

    Returns:
        mean of w for each grade `(num_classes, w_dim)` (one row where unconditional), root of the summed variance of w
        (a number: the projector's `w_std`), and the standard deviation of every style channel `(K,)`.
    """
    device, classes = network.w_avg.device, max(network.num_classes, 1)
    drawn = torch.Generator().manual_seed(seed)
    latents = torch.randn(samples, network.z_dim, generator=drawn, dtype=torch.float32).to(device)
    each = [latents.new_full((samples,), grade, dtype=torch.long) for grade in range(classes)]
    ws = [network.mapping(latents, grade if network.num_classes else None)[:, 0] for grade in each]
    means = torch.stack([w.mean(0) for w in ws])
    spread = torch.stack([(w - w.mean(0)).square().sum(1).mean() for w in ws]).mean().sqrt()
    expanded = torch.cat(ws)[:, None].expand(-1, network.num_ws, -1)
    return means, spread, network.style_space.flatten(network.styles(expanded)).std(0)
