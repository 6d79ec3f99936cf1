"""Which frequencies, sampling rates, sizes, channels and filters each layer of StyleGAN3 has.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, sections 3.2, C.1 and F.1:
cutoffs grow geometrically from the first layer to the last two, which are critically sampled; filters are
Kaiser-windowed sincs, or their radially symmetric counterpart.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.signal import firwin, kaiser_atten, kaiser_beta
from scipy.special import j1
from torch import Tensor

NUM_LAYERS = 14
NUM_CRITICAL = 2
MARGIN = 10
FIRST_CUTOFF = 2.0
FIRST_STOPBAND = 2.0**2.1
LAST_STOPBAND_RELATIVE = 2.0**0.3
TAPS_PER_FACTOR = 6


@dataclass(frozen=True)
class Signal:
    """Maps between two layers: band limits in cycles per image, samples per image, side with margin, channels."""

    cutoff: float
    stopband: float
    sampling_rate: int
    half_width: float
    size: int
    channels: int


@dataclass(frozen=True)
class LayerPlan:
    """One layer: what it reads and writes, and how it filters in between.

    `up` and `down` are factors, `padding` is each axis's on the grid with zeros inserted. toRGB has no filters.
    """

    source: Signal
    target: Signal
    kernel_size: int
    to_rgb: bool
    radial: bool
    up: int
    down: int
    padding: tuple[int, int]

    def filters(self) -> tuple[Tensor | None, Tensor | None]:
        """The filters before and after the nonlinearity; `None` for toRGB."""
        if self.to_rgb:
            return None, None
        return self._filter(self.source, self.up), self._filter(self.target, self.down, radial=self.radial)

    def _filter(self, signal: Signal, factor: int, radial: bool = False) -> Tensor | None:
        return design_lowpass(
            taps=TAPS_PER_FACTOR * factor,
            cutoff=signal.cutoff,
            width=2 * signal.half_width,
            sampling_rate=self.source.sampling_rate * self.up,  # at the nonlinearity
            radial=radial,
        )


def _signal(index: int, image_size: int, channel_base: int, channel_max: int) -> Signal:
    progress = min(index / (NUM_LAYERS - NUM_CRITICAL), 1.0)
    last_cutoff = image_size / 2
    cutoff = FIRST_CUTOFF * (last_cutoff / FIRST_CUTOFF) ** progress
    stopband = FIRST_STOPBAND * (last_cutoff * LAST_STOPBAND_RELATIVE / FIRST_STOPBAND) ** progress
    rate = 2 ** math.ceil(math.log2(min(2 * stopband, image_size)))
    half_width = max(stopband, rate / 2) - cutoff
    size = image_size if index >= NUM_LAYERS - NUM_CRITICAL + 1 else rate + 2 * MARGIN
    channels = 3 if index == NUM_LAYERS else round(min(channel_base / 2 / cutoff, channel_max))
    return Signal(cutoff, stopband, rate, half_width, size, channels)


def _padding(source: Signal, target: Signal, kernel_size: int, up: int, down: int) -> tuple[int, int]:
    taps = TAPS_PER_FACTOR * (up + down)
    total = (target.size - 1) * down + 1 - (source.size + kernel_size - 1) * up + taps - 2
    low = (total + up) // 2  # the maps' centre stays where it is
    return low, total - low


def plan_layers(*, image_size: int, config: str, channel_base: int, channel_max: int) -> list[LayerPlan]:
    """Plans of layers 0 to 13 and of toRGB, the last.

    `config` is "t" (translation: 3x3 kernels, separable filters) or "r" (rotation: 1x1 kernels, radial filters);
    channels are `channel_base / 2 / cutoff`, at most `channel_max`.
    """
    if config not in ("t", "r"):
        raise ValueError(f"config must be 't' or 'r', got {config!r}")
    if image_size < 32 or image_size & (image_size - 1):
        raise ValueError(f"image_size must be a power of two of at least 32, got {image_size}")
    signals = [_signal(i, image_size, channel_base, channel_max) for i in range(NUM_LAYERS + 1)]
    return [_plan(i, signals[max(i - 1, 0)], signals[i], config) for i in range(NUM_LAYERS + 1)]


def _plan(index: int, source: Signal, target: Signal, config: str) -> LayerPlan:
    to_rgb, critical = index == NUM_LAYERS, index >= NUM_LAYERS - NUM_CRITICAL
    kernel_size = 3 if config == "t" and not to_rgb else 1
    middle = 2 * max(source.sampling_rate, target.sampling_rate)
    up, down = (1, 1) if to_rgb else (middle // source.sampling_rate, middle // target.sampling_rate)
    padding = (0, 0) if to_rgb else _padding(source, target, kernel_size, up, down)
    return LayerPlan(source, target, kernel_size, to_rgb, config == "r" and not critical, up, down, padding)


def design_lowpass(
    *, taps: int, cutoff: float, width: float, sampling_rate: float, radial: bool = False
) -> Tensor | None:
    """Low-pass filter `(taps,)` of sum 1, or `(taps, taps)` if `radial`: a jinc of the distance to the centre.

    `cutoff`, of half amplitude, and `width` of the transition band are in cycles per image; one tap means none, `None`.
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
