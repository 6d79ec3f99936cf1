"""Settings of the search for directions: the paper's, those of its released code, robust ones, and pairs of eyes.

Sources: Zhao et al. 2023, Eq. 3-6; Wu et al. 2021, "StyleSpace Analysis", arXiv:2011.12799 (steps in standard
deviations, toRGB left out).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LESION_COLORS", "POLARITY", "PRESETS", "STEPS", "DirectionPreset", "resolve_preset"]

FORMS = ("sum", "mean", "released", "contrast", "pairs")
STEPS = ("mu", "sigma", "max")

LESION_COLORS = {
    "ex": (0.5, 0.5, 0.0),  # yellow
    "se": (1 / 3, 1 / 3, 1 / 3),  # whitish
    "he": (0.0, -1.0, 0.0),  # dark red: green falls most
    "ma": (0.0, -1.0, 0.0),
}
"""Weights of red, green and blue whose sum grows with a lesion; absolute values add up to 1."""

POLARITY = {"ex": 1.0, "se": 1.0, "he": -1.0, "ma": -1.0}
"""Whether more of a lesion makes the image inside it brighter or darker."""


@dataclass(frozen=True, kw_only=True)
class DirectionPreset:
    """How style channels are scored, chosen and stepped along.

    Args:
        form: what is summed up inside the mask of a lesion: `sum` is Eq. 3; `mean` is that per
            pixel of the mask; `released` is `10 |R(mask)| / O + |R(rest)| / (255 - O)` with O the mask's sum over
            three channels; `contrast` is the mean inside the mask less the mean in a ring around it. `pairs` scores
            nothing: see `choose_pair_directions`, which reads `candidates` alone.
        lesion_colors: weight red, green and blue by the lesion (`LESION_COLORS`); else equally.
        absolute: mean of absolute scores over images; else signed ones, which cancel.
        in_sigma: multiply scores by the channel's standard deviation: the change of a typical step. Raw scores of
            different layers cannot be compared, for demodulation makes them scale as one over the style.
        exclude: names of layers that are left out.
        last_layers: how many layers before toRGB are left out too.
        other_regions: weight at which the strongest score in another region is subtracted.
        candidates: best channels that are probed by finite differences; 1 takes the best score as it is.
        single: try the best single channel.
        composed: try several channels, joined by sparse least squares.
        regressed: try the mean change of all styles with the lesion's area over the scored images, with the
            areas of everything else held (linear regression). Of all that is tried the best is taken.
        spreads: how many standard deviations of the lesion's area strength 1 is to move.
        within_reach: but no channel farther than samples go; else it stops there when an edit is made (`StyleShift`).
        step: unit of a step along the direction: the channel's mean `mu`, its standard deviation `sigma` (a calibrated
            number of them), or `max`, the largest style of its layer.
        min_pixels: images with a smaller mask are skipped and counted.

    Raises:
        ValueError: for an unknown form or step.
    """

    form: str = "contrast"
    lesion_colors: bool = True
    absolute: bool = True
    in_sigma: bool = True
    exclude: tuple[str, ...] = ("input", "rgb")
    last_layers: int = 0
    other_regions: float = 1.0
    candidates: int = 50
    single: bool = True
    composed: bool = True
    regressed: bool = True
    spreads: float = 1.0
    within_reach: bool = True
    step: str = "sigma"
    min_pixels: int = 4

    def __post_init__(self) -> None:
        if self.form not in FORMS or self.step not in STEPS:
            raise ValueError(
                f"form={self.form!r}, step={self.step!r}: want one of {', '.join(FORMS)} and of {', '.join(STEPS)}"
            )


PRESETS: dict[str, DirectionPreset] = {
    # Eq. 3-6 word for word
    "paper": DirectionPreset(
        form="sum",
        lesion_colors=False,
        absolute=False,
        in_sigma=False,
        exclude=(),
        other_regions=0.0,
        candidates=1,
        composed=False,
        regressed=False,
        step="mu",
        min_pixels=1,
    ),
    # What the authors' released code does. Its choice by hand among the best channels cannot be repeated; the layers
    # that it allows (the last three before toRGB left out) are kept.
    "released": DirectionPreset(
        form="released",
        lesion_colors=False,
        absolute=True,
        in_sigma=False,
        exclude=("rgb",),
        last_layers=3,
        other_regions=0.0,
        candidates=1,
        composed=False,
        regressed=False,
        step="max",
        min_pixels=1,
    ),
    "robust": DirectionPreset(),
    # Styles of inverted photographs lie beside those of samples, and there single channels do little: all layers move
    # together, as they do between samples.
    "joint": DirectionPreset(candidates=8, single=False, composed=False, spreads=2.0, within_reach=False),
    # How styles differ between photographs and their painted versions; strength 1 is as much as painting changes.
    "pairs": DirectionPreset(form="pairs"),
}
"""Presets by name."""


def resolve_preset(preset: str | DirectionPreset) -> DirectionPreset:
    """A preset by name, or the object itself."""
    if isinstance(preset, DirectionPreset):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: want one of {', '.join(PRESETS)}, or a DirectionPreset")
    return PRESETS[preset]
