"""Styles of photographs, found once and kept on disk; and the limit of what is edited."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import Item, icdr_grade, write_json
from monai_retina_gen.editing import InvertedPhotograph, Inverter, PhotographCache, photograph_keys
from monai_retina_gen.editing.style.optimisation_inversion import OptimisationInversion
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.weights import (
    find_bundle,
    read_inference_config,
    read_metadata,
    sha256_file,
    split_bundle_name,
    weights_file,
)
from monai_retina_gen.weights.perceptual import load_perceptual

__all__ = ["choose_inverter", "invert_photographs", "inverter_identity", "store_limit"]

logger = logging.getLogger(__name__)
SUMMARY = "inversions.json"
PERCENTILE = 99.0


def invert_photographs(
    items: Sequence[Item],
    inverter: Inverter,
    cache: PhotographCache[InvertedPhotograph],
    *,
    size: int,
    batch_size: int = 8,
) -> list[dict[str, Any]]:
    """Invert graded photographs that are not in the cache yet, at `size`, the side of the generator's images.

    Returns:
        For each photograph its path, grade, distance, and the name of its file in the cache; a photograph without a
        retina has a `problem` instead.
    """
    rows: list[dict[str, Any]] = []
    for start in tqdm(range(0, len(items), batch_size), desc="invert", unit="batch"):
        few = items[start : start + batch_size]
        read = [_crop(item, size) for item in few]
        good = [i for i, image in enumerate(read) if isinstance(image, Tensor)]
        known: dict[int, dict[str, Any]] = {}
        if good:
            images = torch.stack([image for image in read if isinstance(image, Tensor)])
            grades = torch.tensor([icdr_grade(few[i]) for i in good])
            found = cache.entries(images, grades, lambda few, of: InvertedPhotograph.rows(inverter(few, of)))
            keys = photograph_keys(images, grades, cache.identity)
            known = {
                i: {"distance": round(each.distance, 6), "file": f"{key}.npz"}
                for i, each, key in zip(good, found, keys, strict=True)
            }
        for i, item in enumerate(few):
            row = {"image": str(item["image"]), "grade": icdr_grade(item)}
            rows.append(row | known.get(i, {"problem": str(read[i])}))
    return rows


def _crop(item: Item, size: int) -> Tensor | str:
    """The photograph as `(3, size, size)`, or what is wrong with it."""
    try:
        return load_eye(item, size)["image"]
    except ImageValueError as error:
        logger.warning("%s: %s", item["image"], error)
        return str(error)


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
    """Put the 99th percentile of distances into the bundle: key `distance_limit` of the configuration.

    Photographs that are farther from their reconstruction are not edited. The metadata say what was measured.

    Args:
        bundle: name or folder.
        config_name: configuration of the generator.
        distances: at least 20, of photographs that neither generator nor encoder was trained on.
        of: identity of the inverter.
    """
    if len(distances) < 20:
        raise ValueError(f"{len(distances)} photographs: a limit wants at least 20")
    limit = float(torch.quantile(torch.tensor(distances, dtype=torch.float64), PERCENTILE / 100))
    folder = find_bundle(bundle)
    config = read_inference_config(folder, config_name)
    path = folder / "configs" / f"{config_name}.json"
    write_json({**config, "distance_limit": round(limit, 6)}, path, sort_keys=False)
    metadata = read_metadata(folder)
    known = metadata.setdefault("distance_limits", {})
    known[config_name] = {"limit": round(limit, 6), "percentile": PERCENTILE, "photographs": len(distances), "of": of}
    write_json(metadata, folder / "configs" / "metadata.json", sort_keys=False)
    return limit


def choose_inverter(
    generator: StyleGAN3Generator,
    bundle: str,
    *,
    space: str | None = None,
    steps: int | None = None,
    device: str = "cpu",
) -> Any:
    """The bundle's inverter, or optimisation alone where a `space` (`w`, `w+` or `s`) is named.

    `steps` are those of the refinement, or of the optimisation (1000 by default).

    Raises:
        ValueError: if the bundle has no encoder and no space is named.
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
