"""Finding a generator's lesion directions, storing them in its bundle, and showing what they do.

Source: Zhao et al. 2023, section 2.2; how the presets differ stands in `editing.style.score_presets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import write_image, write_json
from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.editing import (
    DIRECTIONS,
    ChannelProbe,
    ContributionScores,
    Directions,
    FoundDirection,
    LabelGate,
    Masker,
    StyleRange,
    StyleShift,
    choose_directions,
    choose_pair_directions,
    resolve_preset,
)
from monai_retina_gen.evidence.report.html import markdown_table
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.weights import read_inference_config
from monai_retina_gen.weights.state_files import save_pinned

RANGE_SAMPLES = 4096
GRADES = (1, 2, 3, 4)
STRENGTHS = {"paper": 0.6, "released": 0.5, "robust": 1.0, "joint": 1.0, "pairs": 1.0}
"""Strengths at which presets are compared: the largest that their authors use; the calibrated range."""
SHARES, EYES, TILE = (-1.0, -0.5, 0.0, 0.5, 1.0), 2, 96
AMPLIFIED = 4.0  # factor of the difference maps


@dataclass
class Search:
    """What a search found, by preset."""

    directions: dict[str, Directions]
    rows: dict[str, list[DirectionRow]]  # what each direction does, on images that were not used to choose it
    counts: dict[str, dict[str, int]]  # images that had each region, and those that were skipped
    sheet: dict[str, Tensor]  # pictures at five strengths


def search_directions(
    generator: StyleGAN3Generator,
    masker: Masker,
    *,
    lesions: Sequence[str] = LESIONS,
    presets: Sequence[str] = ("robust",),
    pairs: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    images: int = 1000,
    probes: int = 16,
    batch_size: int = 8,
    seed: int = 0,
    gate: LabelGate | None = None,
) -> Search:
    """Score style channels over generated images, choose directions, and measure them on others.

    Image i has seed `seed + i` and one of the grades 1 to 4 in turn; a generator that does not sample is measured on
    the painted eyes of `pairs`, which the preset `pairs` wants (`styles_of_pairs`). Candidates are probed on `probes`
    images, the choice is measured on as many others; `gate` counts the labels that flip.
    """
    chosen = {name: resolve_preset(name) for name in presets}
    pairs = {name: pair for name, pair in (pairs or {}).items() if name in lesions}
    scores = {n: ContributionScores(generator.network, p, lesions) for n, p in chosen.items() if p.form != "pairs"}
    if len(scores) < len(chosen) and not pairs:
        raise ValueError(f"preset pairs: no photograph has a version with {', '.join(lesions)} painted")
    batches, styles = _styles(generator, pairs, images, batch_size, seed)
    bar = tqdm(batches, desc="scores", unit="batch")
    flat, areas, best = _look(generator, masker, lesions, bar, list(scores.values()))
    probe, check = (
        ChannelProbe(generator.network, flat[best[start : 2 * probes : 2]].to(generator.device), masker, list(lesions))
        for start in (0, 1)
    )
    result = Search({}, {}, {}, {})
    for name, preset in chosen.items():
        if preset.form == "pairs":
            directions, how = choose_pair_directions(pairs, preset, generator.style_space, probe)
            result.counts[name] = {lesion: len(pair[0]) for lesion, pair in pairs.items()}
        else:
            table = scores[name].compute()
            shown = [n for n in lesions if table.counts[n]]
            if not shown:
                raise ValueError(f"none of {images} generated images shows any of {', '.join(lesions)}: no direction")
            bars = partial(tqdm, desc=f"probe {name}", unit="channel")
            space = generator.style_space
            directions, how = choose_directions(table, shown, preset, space, styles, probe, bars, (flat, areas))
            result.counts[name] = {**table.counts, **{f"{n} skipped": c for n, c in table.skipped.items()}}
        edit = StyleShift(directions, generator.style_space)
        result.directions[name] = directions
        result.rows[name] = [_row(each, edit, check, STRENGTHS[name], gate) for each in how]
        result.sheet[name] = direction_sheet(check, edit, STRENGTHS[name])
    return result


def _styles(
    generator: StyleGAN3Generator, pairs: Mapping[str, tuple[Tensor, Tensor]], images: int, batch_size: int, seed: int
) -> tuple[list[Tensor], StyleRange]:
    """Batches of styles `(B, K)` that are looked at, and the range that styles have."""
    if "sample" not in generator.modes:
        if not pairs:
            raise ValueError(f"generator {generator.name!r} does not sample: give it pairs to find directions from")
        with_lesions = torch.cat([painted for _, painted in pairs.values()])
        return list(with_lesions[:images].split(batch_size)), StyleRange.of(with_lesions)
    seeds = [range(seed + i, seed + min(i + batch_size, images)) for i in range(0, images, batch_size)]
    batches = [_sampled(generator, few, torch.tensor([GRADES[s % len(GRADES)] for s in few])) for few in seeds]
    wide = torch.arange(RANGE_SAMPLES) % generator.num_classes
    return batches, StyleRange.of(_sampled(generator, range(seed, seed + RANGE_SAMPLES), wide).cpu())


@torch.no_grad()
def _sampled(generator: StyleGAN3Generator, seeds: Sequence[int], grades: Tensor) -> Tensor:
    return generator.style_space.flatten(generator.network.styles(generator.codes(list(seeds), grades)))


def _look(
    generator: StyleGAN3Generator,
    masker: Masker,
    lesions: Sequence[str],
    batches: Iterable[Tensor],
    scores: Sequence[ContributionScores],
) -> tuple[Tensor, dict[str, Tensor], list[int]]:
    """Score the images of styles; styles `(N, K)`, what was measured of each, and those that show most, first."""
    flat, areas, shown = list[Tensor](), list[dict[str, Tensor]](), list[Tensor]()
    for few in batches:
        styles = generator.style_space.split(few.to(generator.device))
        with torch.no_grad():
            made = ((generator.network.synthesis.run(styles) + 1) / 2).clamp(0, 1)
        masks = masker(made)
        for each in scores:
            each.update(styles, masks, made)
        flat.append(few.cpu())
        found = {name: mask.mean((1, 2, 3)).cpu() for name, mask in masks.items()}
        areas.append(found | {"brightness": made.mean((1, 2, 3)).cpu()})
        shown.append(torch.stack([(masks[n] > 0.5).sum((1, 2, 3)) > 3 for n in lesions]).sum(0).cpu())
    order = torch.cat(shown).argsort(descending=True, stable=True).tolist()
    return torch.cat(flat), {name: torch.cat([each[name] for each in areas]) for name in areas[0]}, order


def _row(
    how: FoundDirection, edit: StyleShift, check: ChannelProbe, strength: float, gate: LabelGate | None
) -> DirectionRow:
    styles = check.styles
    up, down = (edit(styles, [(how.lesion,)] * len(styles), torch.full((len(styles),), s)) for s in (1.0, -1.0))
    step = ((up - styles) - (down - styles)) / 2
    effect, spread = check.measure(step, strength), check.spread()
    sizes = {name: change * strength / spread[name] for name, change in effect.change.items()}
    layer, channel = edit.space.locate(how.channel)
    return DirectionRow(
        lesion=how.lesion,
        layer=edit.space.names[layer],
        channel=channel,
        channels_moved=int((how.vector != 0).sum()),
        score=how.score,
        consistency=how.consistency,
        specificity=how.specificity,
        strength=strength,
        locality=effect.locality[how.lesion],
        area_change=effect.change[how.lesion] * strength,
        area_change_in_spread=sizes[how.lesion],
        area_consistency=effect.consistency[how.lesion],
        largest_other_in_spread=max((abs(v) for n, v in sizes.items() if n != how.lesion), default=0.0),
        vessel_change=effect.vessel_change,
        disc_shift=effect.disc_shift,
        label_flips=None if gate is None else _flips(check, step, strength, gate),
    )


def _flips(check: ChannelProbe, step: Tensor, strength: float, gate: LabelGate) -> float:
    """Share of the images, at both ends, whose most probable grade is another one than before."""
    before = gate.probabilities(check.images).argmax(1)
    after = [gate.probabilities(check.stepped(step, s)).argmax(1) for s in (strength, -strength)]
    return float(torch.stack([each != before for each in after]).float().mean())


def store(folder: Path, config_name: str, found: Search, preset: str, *, of: str, notes: Mapping[str, Any]) -> Path:
    """Write directions, table and sheet into the bundle, and pin them; returns the table's path."""
    config = read_inference_config(folder, config_name)
    file = str(config.get("directions_file", DIRECTIONS))
    save_pinned(found.directions[preset].state(), folder, file, of=of, preset=preset, **notes)
    stem = "directions" if config_name == "inference" else f"directions_{config_name}"
    docs = folder / "docs"
    docs.mkdir(exist_ok=True)
    for name, sheet in found.sheet.items():
        write_image(docs / (f"{stem}.png" if name == preset else f"{stem}_{name}.png"), sheet)
    rows = {name: [vars(row) for row in each] for name, each in found.rows.items()}
    told = {"preset": preset, **notes, "counts": found.counts, "directions": rows}
    write_json(told, docs / f"{stem}.json", sort_keys=False)
    parts = [direction_table(preset, found.rows[preset], found.counts[preset])]
    parts += [comparison_table(found.rows)] if len(found.rows) > 1 else []
    (docs / f"{stem}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return docs / f"{stem}.md"


def known_lesions(wanted: Sequence[str] | None, structures: Sequence[str], segmenter: str) -> list[str]:
    """The lesions asked for; without any, all that the segmenter knows."""
    names = list(wanted or (name for name in LESIONS if name in structures))
    unknown = [name for name in names if name not in structures]
    if unknown or not names:
        raise ValueError(
            f"lesions {', '.join(unknown)}: the segmenter {segmenter} knows {', '.join(structures)}; choose others, or "
            "another --segmenter"
        )
    return names


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
    head = ["lesion", "main channel", "channels", "images with it", "sign consistency", "specificity", "locality"]
    head += ["area change", "in sd of the area", "largest other change, in sd"]
    head += ["vessels, 1 - Dice", "disc shift", "flips"]
    body = [
        [r.lesion, f"{r.layer}:{r.channel}", str(r.channels_moved), str(counts.get(r.lesion, 0))]
        + [f"{value:.2f}" for value in (r.consistency, r.specificity, r.locality)]
        + [f"{100 * r.area_change:+.2f} %", f"{r.area_change_in_spread:+.2f}", f"{r.largest_other_in_spread:.2f}"]
        + [f"{r.vessel_change:.3f}", f"{r.disc_shift:.3f}", _share(r.label_flips)]
        for r in rows
    ]
    return f"Directions, preset `{preset}`, strength {rows[0].strength:g}:\n\n{markdown_table(head, body)}"


def comparison_table(rows: Mapping[str, Sequence[DirectionRow]]) -> str:
    """Markdown table of several presets."""
    head = ["preset", "strength", "lesion", "locality", "area change, in sd", "largest other change, in sd"]
    head += ["own / other", "vessels, 1 - Dice", "flips"]
    body = []
    for preset, each in rows.items():
        for r in each:
            own, other = r.area_change_in_spread, r.largest_other_in_spread
            cells = [preset, f"{r.strength:g}", r.lesion, f"{r.locality:.2f}", f"{own:+.2f}", f"{other:.2f}"]
            body.append([*cells, f"{abs(own) / max(other, 1e-9):.1f}", f"{r.vessel_change:.3f}", _share(r.label_flips)])
    return f"Presets, each at the strength given, up and down:\n\n{markdown_table(head, body)}"


def _share(flips: float | None) -> str:
    return "" if flips is None else f"{flips:.2f}"


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
