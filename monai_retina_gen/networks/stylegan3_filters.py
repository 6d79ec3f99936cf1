"""Low-pass filters of StyleGAN3: Kaiser-windowed sinc, and its radially symmetric counterpart.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, sections 3.2 and C.1.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import firwin, kaiser_atten, kaiser_beta
from scipy.special import j1
from torch import Tensor

__all__ = ["design_lowpass"]


def design_lowpass(
    *, taps: int, cutoff: float, width: float, sampling_rate: float, radial: bool = False
) -> Tensor | None:
    """Design a low-pass filter of sum 1.

    Args:
        taps: length of the filter; 1 means none.
        cutoff: frequency of half amplitude, in cycles per image.
        width: width of the transition band, in the same unit.
        sampling_rate: samples per image of the grid that is filtered.
        radial: a jinc of the distance to the centre instead of a separable filter.

    Returns:
        `(taps,)`, or `(taps, taps)` if `radial`, in float64; `None` if `taps` is 1.

    Raises:
        ValueError: if the cutoff is not below half the sampling rate.

    Examples:
        >>> taps = design_lowpass(taps=12, cutoff=2.0, width=12.0, sampling_rate=32.0)
        >>> taps.shape, round(float(taps.sum()), 6)
        (torch.Size([12]), 1.0)
    """
    if taps == 1:
        return None
    if not 0 < cutoff < sampling_rate / 2:
        raise ValueError(f"cutoff must lie between 0 and half the sampling rate {sampling_rate}, got {cutoff}")
    if not radial:
        return torch.as_tensor(firwin(taps, cutoff=cutoff, width=width, fs=sampling_rate))
    axis = (np.arange(taps) - (taps - 1) / 2) / sampling_rate
    distance = np.hypot(*np.meshgrid(axis, axis))
    if taps % 2:  # the limit at the centre is 0 / 0 in the formula
        distance[taps // 2, taps // 2] = 1e-9 / sampling_rate
    jinc = j1(2 * cutoff * np.pi * distance) / (np.pi * distance)
    window = np.kaiser(taps, kaiser_beta(kaiser_atten(taps, width / (sampling_rate / 2))))
    kernel = jinc * np.outer(window, window)
    return torch.as_tensor(kernel / kernel.sum())
