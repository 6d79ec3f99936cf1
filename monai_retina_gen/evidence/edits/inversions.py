"""Photographs for a StyleGAN3: styles found once and kept on disk, the limit of what is edited, and painted versions.

A painted version is the eye erased, or with one kind of lesion: styles and directions are learned from them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import Item, icdr_grade, write_image, write_json
from monai_retina_gen.editing import InvertedPhotograph, Inverter, PhotographCache, photograph_keys
from monai_retina_gen.editing.painting import paint
from monai_retina_gen.editing.style.optimisation_inversion import OptimisationInversion
from monai_retina_gen.errors import DatalistError, ImageValueError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.generators.lesion_painting import LesionPainting
from monai_retina_gen.networks import PAINTED_LESIONS
from monai_retina_gen.transforms import StackVersionsd
from monai_retina_gen.weights import (
    find_bundle,
    read_inference_config,
    read_metadata,
    sha256_file,
    split_bundle_name,
    weights_file,
)
from monai_retina_gen.weights.perceptual import load_perceptual

logger = logging.getLogger(__name__)
SUMMARY = "inversions.json"
PERCENTILE = 99.0


def invert_photographs(
    items: Sequence[Item], inverter: Inverter, cache: PhotographCache[InvertedPhotograph], *, size: int, batch_size: int
) -> list[dict[str, Any]]:
    """Invert graded photographs that are not in the cache yet, at `size`, the side of the generator's images.

    Rows have path, grade, distance and file in the cache; without a retina a `problem` instead.
    """
    rows: list[dict[str, Any]] = [{"image": str(item["image"]), "grade": icdr_grade(item)} for item in items]
    for start in tqdm(range(0, len(items), batch_size), desc="invert", unit="batch"):
        good, eyes = [], []
        for row, item in zip(rows[start:], items[start : start + batch_size], strict=False):
            try:
                eyes.append(load_eye(item, size)["image"])
                good.append(row)
            except ImageValueError as error:
                logger.warning("%s: %s", item["image"], error)
                row["problem"] = str(error)
        if good:
            images, grades = torch.stack(eyes), torch.tensor([row["grade"] for row in good])
            found = cache.entries(images, grades, lambda few, of: InvertedPhotograph.rows(inverter(few, of)))
            keys = photograph_keys(images, grades, cache.identity)
            for row, each, key in zip(good, found, keys, strict=True):
                row |= {"distance": round(each.distance, 6), "file": f"{key}.npz"}
    return rows


def inverter_identity(bundle: str | os.PathLike[str], config_name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What an inversion depends on: the weights of generator, encoder and judge, and the settings."""
    folder = find_bundle(bundle)
    config = read_inference_config(folder, config_name)
    files = {"generator": folder / weights_file(config)}
    if config.get("encoder") and settings.get("method") == "encoder":
        parts = [name for name in ("encoder", "detail_encoder") if config.get(name)]
        files |= {name: folder / weights_file(read_inference_config(folder, str(config[name]))) for name in parts}
    name, judge = split_bundle_name(str(config.get("perceptual_network", "retina_grader:dr_vgg16")))
    files["judge"] = find_bundle(name) / weights_file(read_inference_config(find_bundle(name), judge))
    return {**{key: sha256_file(path) for key, path in files.items()}, "settings": settings}


def store_limit(
    bundle: str | os.PathLike[str], config_name: str, distances: Sequence[float], *, of: dict[str, Any]
) -> float:
    """Put the 99th percentile of distances into the bundle: what lies farther from its reconstruction is not edited.

    At least 20 distances are wanted, of photographs that neither generator nor encoder was trained on; `of` says by
    what.
    """
    if len(distances) < 20:
        raise ValueError(f"{len(distances)} photographs: a limit wants at least 20")
    limit = float(torch.quantile(torch.tensor(distances, dtype=torch.float64), PERCENTILE / 100))
    folder = find_bundle(bundle)
    config, metadata = read_inference_config(folder, config_name), read_metadata(folder)
    found = {"limit": round(limit, 6), "percentile": PERCENTILE, "photographs": len(distances), "of": of}
    metadata.setdefault("distance_limits", {})[config_name] = found
    config["distance_limit"] = found["limit"]
    for name, content in ((config_name, config), ("metadata", metadata)):
        write_json(content, folder / "configs" / f"{name}.json", sort_keys=False)
    return limit


def choose_inverter(
    generator: StyleGAN3Generator, bundle: str, *, space: str | None, steps: int | None, device: str
) -> Any:
    """The bundle's inverter, or optimisation alone where a `space` (`w`, `w+` or `s`) is named.

    `steps` are those of the refinement, or of the optimisation (1000 by default).
    """
    if space:
        config = read_inference_config(find_bundle(split_bundle_name(bundle)[0]))
        distance = load_perceptual(config.get("perceptual_network", "retina_grader:dr_vgg16"), device=device)
        return OptimisationInversion(
            generator.network, distance=distance, space=space, steps=steps or 1000, one_sided=generator.one_sided
        )
    inverter: Inverter | None = generator.inverter
    if inverter is None:
        raise ValueError(f"generator {bundle!r} has no encoder: train one, or use --optimise w+")
    loaded: Any = getattr(inverter, "load", lambda: inverter)()
    if steps is not None:
        loaded.steps = steps
    return loaded


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
