"""Finding a generator's lesion directions, storing them in its bundle, and showing what they do.

Source: Zhao et al. 2023, section 2.2; how the presets differ stands in `editing.style.score_presets`.
"""

from __future__ import annotations

import logging
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
from monai_retina_gen.evidence.edits.direction_report import (
    DirectionRow,
    comparison_table,
    direction_sheet,
    direction_table,
)
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.weights import read_inference_config
from monai_retina_gen.weights.state_files import save_pinned

__all__ = ["Search", "known_lesions", "search_directions", "store"]

logger = logging.getLogger(__name__)
RANGE_SAMPLES = 4096
GRADES = (1, 2, 3, 4)
STRENGTHS = {"paper": 0.6, "released": 0.5, "robust": 1.0, "joint": 1.0, "pairs": 1.0}
"""Strengths at which presets are compared: the largest that their authors use; the calibrated range."""


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

    A generator that does not sample is measured on the painted eyes of `pairs`.

    Args:
        generator: the generator; image i has seed `seed + i` and one of the grades 1 to 4 in turn.
        masker: soft masks of its images.
        lesions: lesions to find directions of.
        presets: names in `PRESETS`; all are scored on the same images.
        pairs: for the preset `pairs`, see `styles_of_pairs`.
        images: images that are scored.
        probes: images on which candidates are probed, and as many others on which the choice is measured.
        batch_size: images at a time.
        seed: of the first image.
        gate: graders that say whether the label flips; `None` leaves that out.

    Raises:
        ValueError: if no image shows any of the lesions, or the preset `pairs` has no pairs of them.
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
    how: FoundDirection,
    edit: StyleShift,
    check: ChannelProbe,
    strength: float,
    gate: LabelGate | None,
) -> DirectionRow:
    styles = check.styles
    steps = [edit(styles, [(how.lesion,)] * len(styles), torch.full((len(styles),), s)) - styles for s in (1.0, -1.0)]
    step = (steps[0] - steps[1]) / 2
    effect, spread = check.measure(step, strength), check.spread()
    names = [n for n in effect.change if n != how.lesion]
    sizes = {n: effect.change[n] * strength / spread[n] for n in effect.change}
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
        largest_other_in_spread=max((abs(sizes[n]) for n in names), default=0.0),
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
    write_json(
        {
            "preset": preset, **notes, "counts": found.counts,
            "directions": {n: [vars(row) for row in rows] for n, rows in found.rows.items()},
        },
        docs / f"{stem}.json", sort_keys=False,
    )  # fmt: skip
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
