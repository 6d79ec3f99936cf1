"""Table and picture sheet of lesion directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_retina_gen.editing import ChannelProbe, StyleShift
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.networks.resizing import resized

SHARES = (-1.0, -0.5, 0.0, 0.5, 1.0)
EYES = 2
TILE = 96
AMPLIFIED = 4.0
"""Factor of the difference maps."""


@dataclass(frozen=True)
class DirectionRow:
    """One direction, measured on images that were not used to choose it."""

    lesion: str
    layer: str  # of the main channel
    channel: int  # the main one, in its layer
    channels_moved: int
    score: float  # of the main channel, in the preset's own unit
    consistency: float  # |mean R| / mean |R| of the main channel
    specificity: float  # its score less the strongest in another region, over the score
    strength: float  # at which the rest is measured, up and down
    locality: float  # share of the change of the image inside the lesion's neighbourhood
    area_change: float  # of the lesion, as a share of the field of view
    area_change_in_spread: float  # the same in standard deviations of the area over images
    area_consistency: float  # share of images in which the area moves that way
    largest_other_in_spread: float  # the largest change of another lesion, vessels, disc or background
    vessel_change: float  # 1 - Dice of the vessels between both ends
    disc_shift: float  # of the disc's centre between both ends, as a share of the side
    label_flips: float | None = None  # share of images whose most probable grade changes, where graders were given


def direction_table(preset: str, rows: Sequence[DirectionRow], counts: Mapping[str, int]) -> str:
    """Markdown table of the directions of one preset."""
    head = (
        "| lesion | main channel | channels | images with it | sign consistency | specificity | locality | "
        "area change | in sd of the area | largest other change, in sd | vessels, 1 - Dice | disc shift | flips |"
    )
    lines = [f"Directions, preset `{preset}`, strength {rows[0].strength:g}:", "", head, "|---" * 13 + "|"]
    for r in rows:
        flips = "" if r.label_flips is None else f"{r.label_flips:.2f}"
        lines.append(
            f"| {r.lesion} | {r.layer}:{r.channel} | {r.channels_moved} | {counts.get(r.lesion, 0)} | "
            f"{r.consistency:.2f} | {r.specificity:.2f} | {r.locality:.2f} | {100 * r.area_change:+.2f} % | "
            f"{r.area_change_in_spread:+.2f} | {r.largest_other_in_spread:.2f} | {r.vessel_change:.3f} | "
            f"{r.disc_shift:.3f} | {flips} |"
        )
    return "\n".join(lines)


def comparison_table(rows: Mapping[str, Sequence[DirectionRow]]) -> str:
    """Markdown table of several presets."""
    lines = [
        "Presets, each at the strength given, up and down:",
        "",
        "| preset | strength | lesion | locality | area change, in sd | largest other change, in sd | own / other | "
        "vessels, 1 - Dice | flips |",
        "|---" * 9 + "|",
    ]
    for preset, each in rows.items():
        for r in each:
            ratio = abs(r.area_change_in_spread) / max(r.largest_other_in_spread, 1e-9)
            flips = "" if r.label_flips is None else f"{r.label_flips:.2f}"
            lines.append(
                f"| {preset} | {r.strength:g} | {r.lesion} | {r.locality:.2f} | {r.area_change_in_spread:+.2f} | "
                f"{r.largest_other_in_spread:.2f} | {ratio:.1f} | {r.vessel_change:.3f} | {flips} |"
            )
    return "\n".join(lines)


def direction_sheet(probe: ChannelProbe, edit: StyleShift, strength: float) -> Tensor:
    """Picture: for each lesion and two eyes, five strengths, and below them the differences from 0, amplified."""
    eyes = probe.styles[:EYES]
    rows = []
    for lesion in edit.directions.lesions:
        found = []
        for share in SHARES:
            new = edit(eyes, [(lesion,)] * len(eyes), torch.full((len(eyes),), share * strength))
            step = torch.zeros_like(probe.styles)
            step[: len(eyes)] = new - eyes
            found.append(probe.stepped(step)[: len(eyes)])
        for eye in range(len(eyes)):
            images = torch.stack([each[eye] for each in found])
            change = (AMPLIFIED * (images - images[len(SHARES) // 2]).abs()).clamp(0, 1)
            rows.append(image_grid(torch.cat([resized(images, TILE), resized(change, TILE)]), len(SHARES)))
    return torch.cat(rows, dim=1).cpu()
