from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_retina_gen.apps import audit as audit_module
from monai_retina_gen.apps.audit import audit
from monai_retina_gen.apps.audit_verdict import verdict
from monai_retina_gen.apps.copying import distances
from monai_retina_gen.apps.expand import expand
from monai_retina_gen.apps.extractor import Extractor
from monai_retina_gen.apps.image_sets import ImageSet
from monai_retina_gen.apps.pixel_descriptor import pixel_descriptors
from monai_retina_gen.data import PhantomDataset
from monai_retina_gen.errors import DatalistError

SIZE = 48


def phantoms(seed: int, count: int, kind: str) -> ImageSet:
    items = list(PhantomDataset(length=count, size=SIZE, seed=seed, masks=False))
    images = torch.stack([(item["image"] * 255).round().to(torch.uint8) for item in items])
    names = [f"{kind}{i}.png" for i in range(count)]
    return ImageSet(images, [item["grade"] for item in items], names, [f"{kind}{i}" for i in range(count)])


@pytest.fixture(scope="module")
def sets() -> dict[str, ImageSet]:
    made = {"train": phantoms(1, 25, "t"), "holdout": phantoms(2, 25, "h"), "fresh": phantoms(3, 25, "g")}
    made["fresh"] = ImageSet(made["fresh"].images, made["fresh"].grades, made["fresh"].names, [""] * 25)
    return made


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()
    )
    return Extractor(network, name="random", sha256="", input_size=32)


def planted(sets: dict[str, ImageSet], change: Any) -> ImageSet:
    """Fresh phantoms, every fifth replaced by a changed copy of a training image."""
    images = sets["fresh"].images.clone()
    for row in range(0, len(images), 5):
        copy = change(sets["train"].floats([row])[0])
        images[row] = (copy * 255).round().clamp(0, 255).to(torch.uint8)
    return sets["fresh"].with_images(images)


def shifted(image: Tensor) -> Tensor:
    return image.roll((2, -1), dims=(1, 2))


CHANGES = {
    "exact": lambda x: x,
    "mirrored and brighter": lambda x: (x.flip(-1) * 1.15).clamp(0, 1),
    "upside down, shifted, darker": lambda x: shifted(x.flip(-2)) * 0.8,
}


@pytest.mark.parametrize("change", CHANGES)
def test_planted_copies_are_found(change: str, sets: dict[str, ImageSet], extractor: Extractor, tmp_path: Path) -> None:
    generated = planted(sets, CHANGES[change])
    result = audit(generated, sets["train"], sets["holdout"], extractor=extractor, out=tmp_path)
    pixels = result["spaces"]["pixels"]
    assert result["verdict"]["outcome"] == "copies found"
    assert pixels["generated"]["near"] == 5  # 20 % of 25
    assert pixels["holdout"]["near"] == 0
    assert {pair["training"] for pair in result["pairs"]["pixels"][:5]} == {f"t{i}.png" for i in range(0, 25, 5)}


def test_fresh_images_pass(sets: dict[str, ImageSet], extractor: Extractor, tmp_path: Path) -> None:
    result = audit(sets["fresh"], sets["train"], sets["holdout"], extractor=extractor, out=tmp_path)
    assert result["verdict"]["outcome"] == "no copies found"
    for figures in result["spaces"].values():
        assert figures["generated"]["near"] == 0
        assert abs(figures["data_copying"]["generated"]) < 3
        assert abs(figures["generated"]["authentic_share"] - figures["holdout"]["authentic_share"]) < 0.3
    assert any("under 50" in s for s in result["verdict"]["sentences"])
    assert json.loads((tmp_path / "audit.json").read_text()) == result
    assert all((tmp_path / name).is_file() for name in result["pictures"].values())


def test_exact_copies_alone(sets: dict[str, ImageSet], extractor: Extractor, tmp_path: Path) -> None:
    copies = ImageSet(sets["train"].images, sets["train"].grades, sets["train"].names, [""] * 25)
    result = audit(copies, sets["train"], sets["holdout"], extractor=extractor, out=tmp_path)
    for figures in result["spaces"].values():
        assert figures["generated"]["near_share"] == 1
        assert figures["generated"]["authentic_share"] == 0
        assert figures["data_copying"]["generated"] < -4
    assert any("sign of memorising" in s for s in result["verdict"]["sentences"])


def test_edits_exclude_their_own_source(sets: dict[str, ImageSet], extractor: Extractor, tmp_path: Path) -> None:
    rows = list(range(0, 25, 2))
    train = sets["train"].select(rows)
    edits = ImageSet(train.images, train.grades, train.names, [f"/data/{name}" for name in train.names])
    result = audit(edits, sets["train"], sets["holdout"], extractor=extractor, out=tmp_path)
    assert result["spaces"]["pixels"]["generated"]["near"] == 0
    assert result["edits"] == 13
    assert any("remains patient data" in s for s in result["verdict"]["sentences"])


def test_shared_photographs_are_refused(sets: dict[str, ImageSet], extractor: Extractor, tmp_path: Path) -> None:
    with pytest.raises(DatalistError, match="share 25"):
        audit(sets["fresh"], sets["train"], sets["train"], extractor=extractor, out=tmp_path)
    with pytest.raises(DatalistError, match="generated has 1"):
        audit(sets["fresh"].select([0]), sets["train"], sets["holdout"], extractor=extractor, out=tmp_path)


def test_distances_are_the_smallest_of_the_variants() -> None:
    queries, references = torch.randn(3, 5, 4), torch.randn(6, 4)
    expected = torch.stack([torch.cdist(q, references) for q in queries]).amin(0)
    torch.testing.assert_close(distances(queries, references).float(), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(gain=st.floats(0.3, 1.5), offset=st.floats(0, 0.2), seed=st.integers(0, 99))
def test_brightness_does_not_change_the_descriptor(gain: float, offset: float, seed: int) -> None:
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(seed)) / 2
    assert torch.allclose(pixel_descriptors(image), pixel_descriptors(image * gain + offset), atol=1e-3)


@pytest.mark.parametrize(
    ("near", "held_out", "outcome"), [(0, 0, "no copies found"), (1, 0, "suspicious"), (6, 7, "no copies found")]
)
def test_verdict_weighs_images_against_the_holdout(near: int, held_out: int, outcome: str) -> None:
    figures = {
        "generated": {"near": near, "n": 60, "near_share": near / 60},
        "holdout": {"near": held_out, "n": 116, "near_share": held_out / 116},
        "data_copying": {"generated": 0.0},
    }
    data = {"n_train": 300, "n_holdout": 116, "n_generated": 60}
    assert verdict({"spaces": {"pixels": figures}, "data": data, "edits": 0})["outcome"] == outcome


def test_constant_images_stay_finite() -> None:
    assert pixel_descriptors(torch.zeros(2, 3, 32, 32), moved=True).isfinite().all()


@pytest.mark.parametrize("what", ["generator", "images"])
def test_command(
    what: str, vae_bundle: Path, grader_bundle: Path, phantom_list: Path, tmp_path: Path, capsys: Any
) -> None:
    parser = argparse.ArgumentParser()
    audit_module.add_parser(parser.add_subparsers())
    source = ["--generator", str(vae_bundle)]
    if what == "images":
        source = ["--images", str(expand(str(vae_bundle), {0: 3, 4: 3}, tmp_path / "bank", progress=False))]
    words = ["audit", *source, "--train", f"{phantom_list}", "--out", str(tmp_path / "a"), "--count", "6"]
    args = parser.parse_args([*words, "--extractor", str(grader_bundle)])
    assert args.run(args) == 0
    assert "Verdict:" in capsys.readouterr().out
