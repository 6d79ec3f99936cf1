"""Styles of photographs, found once and kept on disk; and the limit of what is edited."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
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
