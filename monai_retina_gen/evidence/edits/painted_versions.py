"""Painted versions of photographs, erased or with one kind of lesion: styles and directions are learned from them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import Item, icdr_grade, write_image, write_json
from monai_retina_gen.editing.painting import paint
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.generators.lesion_painting import LesionPainting
from monai_retina_gen.networks import PAINTED_LESIONS
from monai_retina_gen.transforms import StackVersionsd

VERSIONS = "versions.json"
PAINTED_GRADE = 2  # of a healthy eye with one kind of lesion


def paint_versions(
    items: Sequence[Item],
    generator: LesionPainting,
    folder: str | os.PathLike[str],
    *,
    size: int = 256,
    lesions: Sequence[str] = ("he", "ex", "se"),
    batch_size: int = 8,
    seed: int = 0,
) -> Path:
    """Paint versions of graded photographs and list them for `with_versions`; returns the list's path.

    `lesions` are painted one at a time on the eye without its own; photograph i has `seed + i`.
    """
    out, rows = Path(folder), []
    out.mkdir(parents=True, exist_ok=True)
    for start in tqdm(range(0, len(items), batch_size), desc="versions", unit="batch"):
        few = items[start : start + batch_size]
        images = torch.stack([load_eye(item, size)["image"] for item in few])
        grades = torch.tensor([icdr_grade(item) for item in few])
        made = _versions(generator, images, grades, lesions, [seed + start + i for i in range(len(few))])
        for i, item in enumerate(few):
            listed = []
            for lesion, drawn in made.items():
                if torch.equal(drawn[i], images[i] if not lesion else made[""][i]):
                    continue  # nothing to erase, or no place for the lesion
                name = f"{Path(item['image']).stem}_{lesion or 'none'}.png"
                write_image(out / name, drawn[i])
                listed.append({"image": name, "grade": PAINTED_GRADE if lesion else 0, "lesion": lesion})
            rows.append({"image": Path(item["image"]).name, "versions": listed})
    write_json(rows, out / VERSIONS, sort_keys=False)
    return out / VERSIONS


def _versions(
    generator: Any, images: Tensor, grades: Tensor, lesions: Sequence[str], seeds: Sequence[int]
) -> dict[str, Tensor]:
    """Images by the lesion that was painted, `""` where all were erased."""
    own = generator.own_masks(images, {})
    healthy, none = (grades == 0)[:, None, None, None], torch.zeros_like(images[:, :1])
    own |= {name: own[name].masked_fill(healthy, 0) for name in PAINTED_LESIONS}  # false alarms
    made = {"": paint(generator.painter, images, own, dict.fromkeys(PAINTED_LESIONS, none), seeds=seeds).image}
    clean = {**own, **dict.fromkeys(PAINTED_LESIONS, none)}
    for lesion in lesions:
        wanted = torch.stack([_composed(generator, own, i, lesion, s) for i, s in enumerate(seeds)])
        made[lesion] = paint(generator.painter, made[""], clean, {lesion: wanted.to(none)}, seeds=seeds).image
    return made


def _composed(generator: Any, own: dict[str, Tensor], row: int, lesion: str, seed: int) -> Tensor:
    anatomy = {name: own[name][row].cpu() for name in ("fov", "od")}
    try:
        made = generator.composer().compose(anatomy, PAINTED_GRADE, seed=seed, lesions=[lesion])
    except DatalistError:  # the bank has none
        return torch.zeros_like(anatomy["fov"])
    return torch.as_tensor(made.masks[lesion]).clamp(0, 1)


def styles_of_pairs(
    generator: StyleGAN3Generator, items: Sequence[Mapping[Any, Any]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Styles `(N, K)` of eyes without their lesions and with painted ones, by the lesion that was painted.

    `items` have `image` `(3, S, S)` in [0, 1] of the generator's side, `grade`, and `versions` of `with_versions`.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for item in items:
        listed = item["versions"]
        stack = StackVersionsd("image", count=len(listed) + 1)(item)["versions"].float() / 255
        styles = generator.encode(stack).cpu()
        # the stack begins with the eye without lesions, then the others in their order
        names = [each["lesion"] for each in listed if each["lesion"]]
        for lesion, row in zip(names, styles[len(styles) - len(names) :], strict=True):
            found.setdefault(lesion, []).append((styles[0], row))
    sides = {lesion: tuple(zip(*rows, strict=True)) for lesion, rows in found.items()}
    return {lesion: (torch.stack(without), torch.stack(painted)) for lesion, (without, painted) in sides.items()}
