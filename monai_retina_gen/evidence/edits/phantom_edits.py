"""Edits of phantoms, whose truth is known: lesion pixels asked for against lesion pixels changed.

What the edited image shows is counted by a segmenter; where the lesion may lie, and the phantom that was asked for, are
drawn exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import write_image, write_json
from monai_retina_gen.data.phantom.smooth import FACTORS
from monai_retina_gen.editing.gate_measures import vessel_loss, widened
from monai_retina_gen.editing.style.channel_effects import centre_of
from monai_retina_gen.evidence.report.pictures import rows_of, save_plot
from monai_retina_gen.generators import (
    DRGANGenerator,
    PhantomGenerator,
    RenderedEyeGenerator,
    StyleGAN3Generator,
    load_generator,
)
from monai_retina_gen.generators.stylegan3_generator import load_style_generator

CHANGES = (-0.6, -0.3, 0.3, 0.6)
FIRST_SEED = 10**8  # phantoms from here on are in no training
SHOWN, TILE, AMPLIFIED = 3, 96, 4.0


def asked_phantoms(teacher: PhantomGenerator, factors: Tensor, lesion: str, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Images of `factors` `(B, 10)` with so many `pixels` `(B,)` of a lesion, by bisection, and its exact mask."""
    column, low, high = FACTORS.index(lesion), torch.zeros(len(factors)), torch.ones(len(factors))
    for _ in range(8):
        middle = (low + high) / 2
        tried = factors.clone()
        tried[:, column] = middle
        found = teacher.draw_masks(tried)[lesion].sum((1, 2, 3))
        low, high = torch.where(found < pixels, middle, low), torch.where(found < pixels, high, middle)
    wanted = factors.clone()
    wanted[:, column] = high
    images, masks = teacher.draw(wanted)
    return images, masks[lesion]


def phantom_edits(
    generator: StyleGAN3Generator,
    lesions: Sequence[str],
    *,
    count: int,
    changes: Sequence[float] = CHANGES,
    teacher: PhantomGenerator | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Edit held-out phantoms of the grades 2 to 4, each lesion alone, and measure.

    `changes` are relative, of the lesion's pixels. Returns a row for each phantom, lesion and change; and a picture for
    each lesion: phantom, edits, differences.
    """
    drawn = teacher or PhantomGenerator(z_dim=generator.network.z_dim, image_size=generator.image_size)
    grades = torch.tensor([2 + i % 3 for i in range(count)])
    factors = drawn.factors(drawn.latents([FIRST_SEED + i for i in range(count)]), grades)
    images, exact = drawn.draw(factors)
    before = generator.editor.masks(images)
    rows, sheets = [], {}
    for lesion in tqdm(lesions, desc="edits of phantoms", unit="lesion"):
        full = factors.clone()
        full[:, FACTORS.index(lesion)] = 1.0
        sites = widened((drawn.draw_masks(full)[lesion] > 0.1).float())
        tiles = [images[:SHOWN]]
        for change in changes:
            batch = generator.edit(
                images, grades, lesion=lesion, area_change=change, allow_excluded=True, with_masks=True
            )
            own = exact[lesion].sum((1, 2, 3))
            wanted, _ = asked_phantoms(drawn, factors, lesion, own * (1 + change))
            moved = (batch.image - images).abs().mean(1, keepdim=True)
            found = {
                "asked": own * change,
                "changed": batch.masks[lesion].sum((1, 2, 3)) - (before[lesion] >= 0.5).float().sum((1, 2, 3)),
                "inside": (moved * sites).sum((1, 2, 3)) / moved.sum((1, 2, 3)).clamp(min=1e-9),
                "vessels": vessel_loss(before["vessel"] >= 0.5, batch.masks["vessel"] >= 0.5),
                "disc": (centre_of(before["od"]) - centre_of(batch.masks["od"])).norm(dim=1),
                "error_before": ((images - wanted).square() * sites).sum((1, 2, 3)),
                "error_after": ((batch.image - wanted).square() * sites).sum((1, 2, 3)),
            }
            for i, record in enumerate(batch.records):
                note = {"lesion": lesion, "change": change, "refused": record.options.get("refused", "")}
                rows.append({**note, "had": float(own[i]), **{name: float(v[i]) for name, v in found.items()}})
            tiles += [batch.image[:SHOWN], (AMPLIFIED * moved[:SHOWN]).clamp(0, 1).expand(-1, 3, -1, -1)]
        sheets[lesion] = rows_of(tiles, TILE)
    return rows, sheets


def figures(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the phantoms that had some of the lesion and were edited, by lesion and change."""
    found = []
    for lesion, change in dict.fromkeys((r["lesion"], r["change"]) for r in rows):
        own = [r for r in rows if (r["lesion"], r["change"]) == (lesion, change)]
        kept = [r for r in own if not r["refused"] and r["had"] >= 4]
        mean = {key: sum(r[key] for r in kept) / max(len(kept), 1) for key in list(rows[0])[3:]}
        right = sum(r["changed"] * change > 0 for r in kept) / max(len(kept), 1)
        found.append({"lesion": lesion, "change": change, "n": len(kept), "of": len(own), "right_way": right, **mean})
    return found


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot pixels asked for against pixels changed, one panel a lesion."""
    lesions = list(dict.fromkeys(row["lesion"] for row in rows))
    figure = Figure(figsize=(3.4 * len(lesions), 3.4), layout="constrained")
    for axes, lesion in zip(figure.subplots(1, len(lesions), squeeze=False)[0], lesions, strict=True):
        own = [row for row in rows if row["lesion"] == lesion and not row["refused"] and row["had"] >= 4]
        axes.scatter([row["asked"] for row in own], [row["changed"] for row in own], s=8, alpha=0.6)
        ends = [min(row["asked"] for row in own), max(row["asked"] for row in own)] if own else [0, 1]
        axes.plot(ends, ends, color="grey", linewidth=1)
        axes.set_title(lesion)
        axes.set_xlabel("lesion pixels asked for")
    figure.axes[0].set_ylabel("lesion pixels changed")
    save_plot(figure, path)


def phantom_study(
    bundle: str, lesions: Sequence[str], out: str | Path, *, count: int, renderer: str | None, device: str
) -> str:
    """Write what `phantom_edits` measures, with a plot and pictures; returns a table as text.

    `renderer` is the bundle of the DR-GAN that drew what the generator of `bundle` learned; drawn phantoms by default.
    """
    generator = load_style_generator(bundle, device=device)
    teacher = None if renderer is None else _rendered(renderer, generator, device)
    rows, sheets = phantom_edits(generator, lesions, count=count, teacher=teacher)
    folder, found = Path(out), figures(rows)
    write_json({"figures": found, "rows": rows}, folder / "phantom_edits.json", sort_keys=False)
    draw(rows, folder / "phantom_edits.png")
    for lesion, sheet in sheets.items():
        write_image(folder / f"{lesion}.png", sheet)
    head = "lesion | asked | n | pixels asked | changed | right way | inside the sites | vessels 1-Dice | disc | error"
    lines = [
        f"{f['lesion']} | {100 * f['change']:+.0f} % | {f['n']} of {f['of']} | {f['asked']:+.1f} | "
        f"{f['changed']:+.1f} | {f['right_way']:.2f} | {f['inside']:.2f} | {f['vessels']:.3f} | {f['disc']:.4f} | "
        f"{f['error_before']:.3f} -> {f['error_after']:.3f}"
        for f in found
    ]
    return "\n".join([head, *lines])


def _rendered(name: str, generator: StyleGAN3Generator, device: str) -> RenderedEyeGenerator:
    renderer = load_generator(name, device=device)
    if not isinstance(renderer, DRGANGenerator):
        raise ValueError(f"renderer {name!r} is a {type(renderer).__name__}: only a DR-GAN draws masks")
    return RenderedEyeGenerator(renderer, z_dim=generator.network.z_dim, image_size=generator.image_size)
