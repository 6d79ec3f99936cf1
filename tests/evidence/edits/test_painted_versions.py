"""From photographs to directions by pairs: versions are painted and listed, styles of the pairs are compared."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from painting_parts import Knows, painting_generator, phantom
from tiny_generators import stylegan3

from monai_retina_gen.data import LesionBank, with_versions, write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.evidence.edits.inversions import paint_versions, styles_of_pairs
from monai_retina_gen.networks.inputs import resized


def test_versions_are_painted_and_become_directions(phantom_bank: LesionBank, tmp_path: Path) -> None:
    image, masks = phantom(3)
    items = [{"image": str(tmp_path / f"eye{i}.png"), "grade": grade} for i, grade in enumerate([3, 0])]
    for item in items:
        write_image(item["image"], image[0])
    painter = painting_generator(phantom_bank, Knows({name: masks[name] for name in masks if name != "fov"}))
    file = paint_versions(items, painter, tmp_path / "out", size=128, lesions=["ex", "he"])
    listed = {row["image"]: [each["lesion"] for each in row["versions"]] for row in json.loads(file.read_text())}
    assert listed == {"eye0.png": ["", "ex", "he"], "eye1.png": ["ex", "he"]}  # a healthy eye has nothing to erase
    erased, painted = (read_image(tmp_path / "out" / f"eye0_{name}.png") for name in ("none", "ex"))
    assert 0 < (erased != painted).any(0).float().mean() < 0.2

    generator = stylegan3()
    small = resized(image, generator.image_size)[0]
    pairs = [{**item, "image": small} for item in with_versions(items, file)]
    found = styles_of_pairs(generator, pairs)
    assert {lesion: len(with_lesion) for lesion, (_, with_lesion) in found.items()} == {"ex": 2, "he": 2}
    ends = [erased, image[0], *(read_image(tmp_path / "out" / f"eye{i}_ex.png") for i in (0, 1))]
    small_ends = torch.cat([resized(each[None], generator.image_size) for each in ends])
    styles = generator.encode((small_ends * 255).round() / 255)  # stacks have 8 bits
    torch.testing.assert_close(torch.cat(found["ex"]), styles, atol=1e-4, rtol=1e-3)
