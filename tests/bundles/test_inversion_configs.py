"""Phantom network, encoder and segmenter through `monai.bundle run`, then `invert` with its cache and limit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import run

from monai_retina_gen.__main__ import main
from monai_retina_gen.engines import load_segmenter
from monai_retina_gen.evidence.edits.inversions import store_limit
from monai_retina_gen.generators import StyleGAN3Generator, load_generator
from monai_retina_gen.weights import latest_checkpoint, read_inference_config, read_metadata
from monai_retina_gen.zoo.packing import pin

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "retina_stylegan3"
TINY = {"image_size": 32, "channel_base": 256, "channel_max": 8, "z_dim": 16, "w_dim": 8}
FEW = {"images_per_epoch": 4, "val_phantoms": 2, "warmup": 1, "init_weights": "", "mapping_steps": 20}
ENCODER = {"channels": [4, 4, 8, 16, 16], "pyramid": 8, "hidden": 16}


def train(folder: Path, *names: str, **options: Any) -> None:
    configs = [str(folder / "configs" / f"{name}.json") for name in names]
    output = str(folder / "output" / names[-1])
    run(config_file=configs, bundle_root=str(folder), output_dir=output, device="cpu", **options)


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | keys), encoding="utf-8")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with tiny phantom networks, each trained for two steps."""
    folder = tmp_path_factory.mktemp("bundles") / "retina_stylegan3"
    shutil.copytree(BUNDLE, folder, ignore=shutil.ignore_patterns("output", "models", "training", "*.png"))
    configs = folder / "configs"
    change(configs / "metadata.json", weights={})
    network = json.loads((configs / "phantom.json").read_text())["network_def"] | TINY
    change(configs / "phantom.json", network_def=network, image_size=32, inversion={"steps": 2})
    encoder = {"_target_": "monai_retina_gen.networks.StyleEncoder", "num_ws": 16, "w_dim": 8, **ENCODER}
    change(configs / "phantom_encoder.json", network_def=encoder)
    train(folder, "train", "imitate", "train_phantom", **TINY, **FEW, max_epochs=1)
    pin(folder, folder / "output" / "train_phantom" / "model.pt", config_name="phantom")
    own = {f"encoder_{key}": value for key, value in ENCODER.items()}
    few = {"steps_per_epoch": 2, "max_epochs": 1, "bank": 4, "batch_size": 2, "generated": 2, "reconstructed": 3}
    options = {"generator_config": "phantom", "perceptual_network": "untrained", **few, **own}
    train(folder, "train", "train_encoder", **options)
    pin(folder, folder / "output" / "train_encoder" / "encoder.pt", config_name="phantom_encoder")
    return folder


def test_generator_brings_its_inverter(bundle: Path, bundles_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))  # LPIPS_DR's network
    generator = load_generator(f"{bundle}:phantom")
    assert isinstance(generator, StyleGAN3Generator)
    assert "reconstruct" in generator.modes
    sample = generator.sample([0, 3], seeds=[1, 2])
    assert sample.image.shape == (2, 3, 32, 32)
    made = generator.reconstruct(sample.image, [0, 3])
    assert made.image.shape == sample.image.shape
    assert load_generator(f"{bundle}:phantom").distance_limit == float("inf")


def test_training_resumes(bundle: Path) -> None:
    train(bundle, "train", "imitate", "train_phantom", **TINY, **FEW, max_epochs=2, resume=True)
    state = torch.load(latest_checkpoint(bundle / "output" / "train_phantom"), weights_only=True)
    assert state["trainer"]["iteration"] == 4


def test_segmenter_learns(bundle: Path) -> None:
    few = {"steps_per_epoch": 2, "max_epochs": 1, "batch_size": 4}
    train(bundle, "train_phantom_segmenter", **few)
    pin(bundle, bundle / "output" / "train_phantom_segmenter" / "phantom_segmenter.pt", config_name="phantom_segmenter")
    segmenter = load_segmenter(f"{bundle}:phantom_segmenter")
    assert segmenter.masks(torch.rand(1, 3, 64, 64))["ex"].shape == (1, 1, 64, 64)


def test_renderings_teach_network_and_segmenter(
    bundle: Path, bundles_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both learn from what `retina_drgan` draws, and no eye is drawn twice."""
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))
    few = {"renderings": 4, "store": str(tmp_path), "max_epochs": 1}
    train(bundle, "train", "imitate", "train_phantom", "train_rendered", **TINY, **FEW, **few)
    state = torch.load(bundle / "output" / "train_rendered" / "training_state.pt", weights_only=True)
    assert {name.split(".")[0] for name in state} >= {"generator", "ema"}
    drawn = set(tmp_path.glob("*.npy"))
    assert len(drawn) == 6  # 4 to learn from, 2 to validate on
    few |= {"image_size": 32, "val_renderings": 2, "steps_per_epoch": 2, "batch_size": 2}
    train(bundle, "train_phantom_segmenter", "train_segmenter", **few)
    assert (bundle / "output" / "train_segmenter" / "segmenter.pt").is_file()
    found = set(tmp_path.glob("*.npy"))
    assert drawn <= found
    assert len(found) < 2 * len(drawn)  # it learns both sides: the left eyes are there already


def test_command_goes_on_and_stores_the_limit(
    bundle: Path, bundles_dir: Path, phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))
    out = tmp_path / "latents"
    command = ["model", "invert", "--datalist", f"{phantom_folder / 'datalist.json'}:training", "--generator"]
    command += [f"{bundle}:phantom", "--out", str(out), "--batch-size", "16"]
    assert main(command) == 0
    files = {path: path.stat().st_mtime_ns for path in out.glob("*.npz")}
    assert len(files) == 24
    next(iter(files)).unlink()
    assert main([*command, "--store-limit"]) == 0
    after = {path: path.stat().st_mtime_ns for path in out.glob("*.npz")}
    assert after.keys() == files.keys()
    assert sum(after[path] != files[path] for path in files) == 1  # only what was missing
    summary = json.loads((out / "inversions.json").read_text())
    distances = torch.tensor([row["distance"] for row in summary["photographs"]], dtype=torch.float64)
    limit = read_inference_config(bundle, "phantom")["distance_limit"]
    assert limit == pytest.approx(float(torch.quantile(distances, 0.99)), abs=1e-5)
    assert read_metadata(bundle)["distance_limits"]["phantom"]["photographs"] == 24
    assert load_generator(f"{bundle}:phantom").distance_limit == limit  # type: ignore[attr-defined]
    metadata = read_metadata(bundle)
    metadata["distance_limits"]["phantom"]["of"]["generator"] = "0" * 64  # trained on: it means nothing any more
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert load_generator(f"{bundle}:phantom").distance_limit == float("inf")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="at least 20"):
        store_limit(bundle, "phantom", [0.1] * 5, of={})
