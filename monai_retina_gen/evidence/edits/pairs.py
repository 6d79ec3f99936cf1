"""Directions of lesions from photographs and their painted versions, stored with a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_json
from monai_retina_gen.editing import DIRECTIONS, Directions, StyleRange, pair_directions, save_directions
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.transforms import StackVersionsd
from monai_retina_gen.weights import read_inference_config, read_metadata

__all__ = ["directions_of_pairs", "store_directions"]


def directions_of_pairs(
    generator: StyleGAN3Generator,
    items: Sequence[Mapping[Any, Any]],
    *,
    channels: int | None = None,
    times: float = 1.0,
) -> tuple[Directions, dict[str, int]]:
    """Directions of all lesions that versions were painted with, and the number of pairs of each.

    Args:
        generator: with an inverter.
        items: `image` `(3, S, S)` in [0, 1], cropped, of the generator's side; `grade`; `versions` as `with_versions`
            gives them. A pair is the eye without its lesions and with painted ones.
        channels: see `pair_vector`.
        times: strength 1 is so many times the mean change.

    Raises:
        ValueError: for fewer than two pairs of a lesion.
        UnsupportedModeError: for a generator that inverts no photographs.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    every = []
    for item in items:
        listed = item["versions"]
        stack = StackVersionsd("image", count=len(listed) + 1)(item)["versions"].float() / 255
        styles = generator.encode(stack).cpu()
        every.append(styles)
        # the stack begins with the eye without lesions, then the others in their order
        names = [each["lesion"] for each in listed if each["lesion"]]
        for lesion, row in zip(names, styles[len(styles) - len(names) :], strict=True):
            found.setdefault(lesion, []).append((styles[0], row))
    pairs = {lesion: tuple(torch.stack(side) for side in zip(*rows, strict=True)) for lesion, rows in found.items()}
    space = generator.style_space
    made = pair_directions(pairs, StyleRange.of(torch.cat(every)), space, channels=channels, times=times)  # type: ignore[arg-type]
    return made, {lesion: len(rows) for lesion, rows in found.items()}


def store_directions(
    folder: Path, config_name: str, directions: Directions, *, of: str, notes: Mapping[str, Any]
) -> Path:
    """Write directions into a bundle and pin them; returns the file."""
    file = str(read_inference_config(folder, config_name).get("directions_file", DIRECTIONS))
    metadata = read_metadata(folder)
    metadata.setdefault("weights", {})[file] = {**save_directions(directions, folder / file, of=of), **notes}
    write_json(metadata, folder / "configs" / "metadata.json", sort_keys=False)
    return folder / file
