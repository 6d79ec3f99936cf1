"""Painting lesions on photographs: one function over every painter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from monai_retina_gen.data.condition_map import CONDITION_KEYS
from monai_retina_gen.editing.painting.pieces import without_invisible
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks import PAINTED_LESIONS


@dataclass(frozen=True)
class Painting:
    """Painted photographs.

    Attributes:
        image: `(B, 3, H, W)` in [0, 1].
        change: `(B, 1, H, W)` in [0, 1]; where it is 0, the photograph bit for bit.
        masks: `(B, 1, H, W)` by name of the lesion: what was wanted, less what does not show.
    """

    image: Tensor
    change: Tensor
    masks: dict[str, Tensor]


class Painter(Protocol):
    """Draws wanted lesions on photographs (`HolePainter`, `RatioPainter`)."""

    reads_vessels: bool
    """Whether what is drawn depends on the vessels."""

    def draw(
        self,
        photograph: Tensor,
        own: Mapping[str, Tensor],
        wanted: Mapping[str, Tensor],
        *,
        seeds: Sequence[int],
        grades: Tensor | None = None,
        nothing_new: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Images `(B, 3, H, W)` and where they may differ from the photographs, `(B, 1, H, W)` in [0, 1].

        With `nothing_new` they may differ there likewise, but what is drawn is what the photograph shows: the control
        that tells lesions from the traces of painting.
        """
        ...


@torch.no_grad()
def paint(
    painter: Painter,
    photograph: Tensor,
    own: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    seeds: Sequence[int],
    grades: Tensor | None = None,
    contrast: float = 0.03,
) -> Painting:
    """The same eyes with other lesions.

    Args:
        painter: draws them.
        photograph: `(B, 3, H, W)` in [0, 1], cropped to the field of view; any device.
        own: masks of what the photographs show, `(B, 1, H, W)` in [0, 1] under `CONDITION_KEYS`; `fov` is needed,
            `od` and `vessel` should be there, lesions that are not given are absent.
        wanted: lesions that the result shall show, each with all its pieces, under `PAINTED_LESIONS`; those that are
            not given stay as they are.
        seeds: `B` integers: a painting depends on its photograph, masks, grade and seed alone.
        grades: `(B,)`, for painters that read them.
        contrast: see `without_invisible`; -1 keeps all that was asked for.

    Raises:
        ImageValueError, ValueError: for what does not fit in shape, range, name or number, or an empty `fov`.

    Examples:
        >>> from monai_retina_gen.editing.painting import HolePainter
        >>> from monai_retina_gen.networks import LesionPainter
        >>> painter, eye = HolePainter(LesionPainter(channels=(4, 8))), torch.rand(1, 3, 64, 64)
        >>> spot = torch.zeros(1, 1, 64, 64)
        >>> spot[..., 30:34, 30:34] = 1
        >>> made = paint(painter, eye, {"fov": torch.ones(1, 1, 64, 64)}, {"ex": spot}, seeds=[0])
        >>> bool((made.change[(made.image != eye).any(1, keepdim=True)] > 0).all())
        True
    """
    _check_masks(photograph, own, wanted)
    _check_counts(photograph, seeds, grades)
    empty = torch.zeros_like(photograph[:, :1])
    before = {name: own.get(name, empty) for name in PAINTED_LESIONS}
    after = {**before, **wanted}
    drawn, change = painter.draw(photograph, {**own, **before}, after, seeds=seeds, grades=grades)
    image = torch.where(change > 0, drawn.clamp(0, 1), photograph)
    return Painting(image, change, without_invisible(image, before, after, contrast=contrast))


def _check_masks(photograph: Tensor, own: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if photograph.ndim != 4 or photograph.shape[1] != 3:
        raise ImageValueError(f"photograph: shape {tuple(photograph.shape)} came, wanted (B, 3, H, W)")
    unknown = (set(own) - set(CONDITION_KEYS)) | (set(wanted) - set(PAINTED_LESIONS))
    if unknown or "fov" not in own:
        raise ImageValueError(
            f"masks: own has {sorted(own)}, wanted has {sorted(wanted)}; own is any of {', '.join(CONDITION_KEYS)} "
            f"('fov', the field of view, in any case), and wanted any of {', '.join(PAINTED_LESIONS)}"
        )
    shape = (photograph.shape[0], 1, *photograph.shape[2:])
    for name, values in (("photograph", photograph), *own.items(), *wanted.items()):
        if name != "photograph" and tuple(values.shape) != shape:
            raise ImageValueError(f"masks: {name!r} has shape {tuple(values.shape)}, wanted {shape}, as the photograph")
        if values.numel() and not (float(values.min()) >= 0 and float(values.max()) <= 1):  # NaN fails too
            raise ImageValueError(
                f"{name}: values from {float(values.min()):.3g} to {float(values.max()):.3g} came, wanted [0, 1]"
            )
    if bool((own["fov"].flatten(1).amax(1) < 0.5).any()):
        raise ImageValueError("masks: 'fov' is empty: no retina was found in a photograph; leave it out")


def _check_counts(photograph: Tensor, seeds: Sequence[int], grades: Tensor | None) -> None:
    counts = {"seeds": len(seeds)} | ({} if grades is None else {"grades": len(grades)})
    if wrong := {name: count for name, count in counts.items() if count != len(photograph)}:
        raise ValueError(f"{wrong} came for {len(photograph)} photographs: give one for each")
