"""What inference writes belongs to its photograph, and what a user overrides is obeyed or refused by name."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.engines import FlippedWindowInferer
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import LesionSegmenter
from monai_retina_gen.transforms import CropToFieldOfView, LoadFundus
from monai_retina_gen.weights import load_network, read_inference_config, save_state

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
GENERATORS = ["retina_vae", "retina_wgan", "retina_wgan_gp", "retina_stylegan3", "retina_drgan"]
DESCRIBED = {"imports", "encoder", "inversion", "segmenter", "photograph_segmenter", "distance_limit"}
"""Keys that describe a bundle beyond its samples: `load_generator` reads them for edits."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    write_phantoms(folder, count=7, size=320, seed=2, masks=False, splits=(0, 0, 1))
    return folder


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_each_photograph_has_one_row_of_its_own_predictions(photographs: Path, tmp_path: Path, batch_size: int) -> None:
    bundle = BUNDLES / "retina_grader"
    run(
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        datalist=str(photographs / "datalist.json"),
        dataset_dir=str(photographs),
        output_dir=str(tmp_path),
        batch_size=batch_size,
        device="cpu",
    )
    rows = {row[0]: [float(x) for x in row[1:]] for row in csv.reader((tmp_path / "predictions.csv").open())}
    items = json.loads((photographs / "datalist.json").read_text())["test"]
    assert len(rows) == len(items) == 7
    network, crop = load_network(bundle), CropToFieldOfView(size=read_inference_config(bundle)["image_size"])
    for path in sorted(rows):  # each alone, without loader, engine and saver
        wanted = network(crop(LoadFundus()(path)).as_tensor()[None]).div(network.temperature).softmax(1)[0]
        torch.testing.assert_close(torch.tensor(rows[path]), wanted, atol=1e-4, rtol=0)


def test_masks_of_equal_file_names_keep_their_folders(photographs: Path, tmp_path: Path) -> None:
    bundle, network = BUNDLES / "retina_lesion_segmentation", _segmenter(tmp_path / "model.pt")
    named = ("left/1.png", "right/1.png")
    for name, source in zip(named, sorted((photographs / "images").rglob("*.png")), strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / name)
    options = {
        "config_file": str(bundle / "configs" / "inference.json"),
        "bundle_root": str(bundle),
        "datalist": {"test": [{"image": str(tmp_path / name)} for name in named]},
        "checkpoint": str(tmp_path / "model.pt"),
        "channels": [4, 8, 8],
        "image_size": 64,
        "device": "cpu",
    }
    run(output_dir=str(tmp_path / "soft"), **options)
    limits = {"thresholds#ex": 0.45} | {f"thresholds#{name}": 0.5 for name in ("ma", "he", "se", "od", "vessel")}
    run(output_dir=str(tmp_path / "hard"), probabilities=False, **limits, **options)
    for name in named:
        crop = CropToFieldOfView(size=64)(LoadFundus()(tmp_path / name)).as_tensor()[None]
        wanted = FlippedWindowInferer(window=64)(crop, network)[0]
        torch.testing.assert_close(_read(tmp_path / "soft" / f"{name[:-4]}_masks.nii.gz"), wanted, atol=1e-5, rtol=0)
        hard = (wanted >= torch.tensor([0.5, 0.5, 0.45, 0.5, 0.5, 0.5]).view(-1, 1, 1)).float()
        assert (_read(tmp_path / "hard" / f"{name[:-4]}_masks.nii.gz") != hard).float().mean() < 1e-3


def _segmenter(path: Path) -> LesionSegmenter:
    structures = read_inference_config(BUNDLES / "retina_lesion_segmentation")["structures"]
    torch.manual_seed(0)
    network = LesionSegmenter(structures=structures, channels=(4, 8, 8), deep_supervision=1).eval()
    save_state(network.state_dict(), path)
    return network


def _read(path: Path) -> torch.Tensor:
    values = np.squeeze(nibabel.load(path).get_fdata())  # (W, H, structures)
    return torch.from_numpy(values.transpose(2, 1, 0).astype(np.float32))


def parsed(name: str, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / name / "configs" / "inference.json"))
    parser.update({"bundle_root": str(BUNDLES / name), "device": "cpu"} | overrides)
    return parser


REFUSED = {
    "retina_vae": {"network_def#latent_dim": 7},
    "retina_wgan": {"network_def#width": 16},
    "retina_wgan_gp": {"network_def#num_classes": 3},
    "retina_stylegan3": {"w_dim": 64},
    "retina_drgan": {"base_width": 8},
}


@pytest.mark.parametrize("name", GENERATORS)
def test_an_override_that_the_weights_cannot_follow_is_refused(name: str) -> None:
    for overrides in (REFUSED[name], {"checkpoint": "/nowhere/model.pt"}):
        with pytest.raises(RuntimeError) as raised:  # MONAI's, around ours
            parsed(name, **overrides).get_parsed_content("loaded_generator")
        found: BaseException = raised.value
        while found.__cause__ is not None and not isinstance(found, WeightsError):
            found = found.__cause__
        assert isinstance(found, WeightsError)
        assert ("network_def" in str(found)) != ("/nowhere/model.pt" in str(found))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("retina_vae", "temperature", 0.5),
        ("retina_wgan", "temperature", 0.5),
        ("retina_wgan_gp", "temperature", 0.5),
        ("retina_stylegan3", "truncation", 0.5),
        ("retina_drgan", "batch_size", 3),
    ],
)
def test_an_override_of_the_generator_is_obeyed(name: str, key: str, value: float, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    state = torch.load(BUNDLES / name / "models" / "model.pt", weights_only=True)
    save_state({k: v * 0 if v.is_floating_point() else v for k, v in state.items()}, other)
    overrides = {f"generator#{key}": value, "checkpoint": str(other)}
    generator = parsed(name, **overrides).get_parsed_content("loaded_generator")
    assert getattr(generator, key) == value
    assert all(not p.any() for p in generator.network.parameters())
    assert generator.weights_sha256 != parsed(name).get_parsed_content("loaded_generator").weights_sha256


WHOLE = sorted(path for name in ("inference", "train") for path in BUNDLES.glob(f"*/configs/{name}.json"))
"""The others are laid over one of these."""


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_setting_reaches_what_a_configuration_runs(path: Path) -> None:
    """A key that nothing refers to could be overridden without effect."""
    config = json.loads(path.read_text(encoding="utf-8"))
    reached, pending = set(), ["run", "initialize", "finalize"]
    while pending:
        key = pending.pop()
        if key in config and key not in reached:
            reached.add(key)
            pending += [re.split("::|#", found)[0] for found in _references(config[key])]
    named_by_monai = {"dataset_dir"} if path.parts[-3] in GENERATORS else set()
    painting = {"generator", "lesion_bank"} if path.parts[-3] == "retina_lesion_painter" else set()
    assert set(config) - reached <= DESCRIBED | named_by_monai | painting


def _references(value: Any) -> Iterator[str]:
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _references(each)
    if isinstance(value, str):
        yield from re.findall(r"@([\w:#]+)", value)


@pytest.mark.parametrize("name", GENERATORS)
def test_evaluation_takes_the_generator_of_inference(name: str) -> None:
    config = json.loads((BUNDLES / name / "configs" / "evaluate.json").read_text())
    assert config["generator"] == read_inference_config(BUNDLES / name)["generator"]
    assert config["evaluation"]["generator"] == "@loaded_generator"
    assert config["checkpoint"] == read_inference_config(BUNDLES / name)["checkpoint"]
