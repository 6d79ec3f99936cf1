"""StyleGAN3 and its encoders trained together, as on a GPU but at tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fresh_process import run_bundle

from monai_retina_gen.data import write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.weights import load_state

BUNDLE = Path(__file__).parents[2] / "bundles" / "retina_stylegan3"
TINY = {
    "image_size": 64,
    "channel_base": 256,
    "channel_max": 8,
    "z_dim": 8,
    "w_dim": 16,
    "encoder_channels": "[8,8,8,8,8]",
    "encoder_hidden": 16,
    "detail_width": 8,
    "detail_bottleneck": 4,
    "discriminator_width": 8,
    "batch_size": 8,
    "feature_network": "untrained",
    "perceptual_network": "untrained",
    "version_count": 2,
    "device": "cpu",
}


@pytest.mark.slow
@pytest.mark.parametrize("overlays", [("joint",), ("joint", "autoencode")])
def test_a_time_limited_joint_training_goes_on_from_its_state(
    phantom_folder: Path, tmp_path: Path, overlays: tuple[str, ...]
) -> None:
    datalist = json.loads((phantom_folder / "datalist.json").read_text())
    rows = []
    for item in datalist["training"][:3]:
        name = Path(item["image"]).name
        write_image(tmp_path / f"dark_{name}", read_image(phantom_folder / item["image"]) * 0.5)
        rows.append({"image": name, "versions": [{"image": f"dark_{name}", "grade": 2, "lesion": "he"}]})
    (tmp_path / "versions.json").write_text(json.dumps(rows))
    own = ["--datalist", str(phantom_folder / "datalist.json"), "--dataset_dir", str(phantom_folder)]
    own += ["--versions", str(tmp_path / "versions.json")]
    own += [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    train = ["--config_file", str([f"configs/{name}.json" for name in ("train", *overlays)]), *own]
    run_bundle(BUNDLE, *train, "--output_dir", str(tmp_path / "a"), "--max_epochs", "100000", "--time_limit", "2")
    state = load_state(tmp_path / "a" / "training_state.pt")
    assert {name.split(".")[0] for name in state} == ({"ema"} if "autoencode" in overlays else {"ema", "discriminator"})
    assert not any(name.startswith("discriminator.features.") for name in state)
    assert {path.name.split("_")[0] for path in (tmp_path / "a" / "samples").iterdir()} >= {"reconstructions"}
    go_on = ["--init_training", str(tmp_path / "a" / "training_state.pt"), "--max_epochs", "1"]
    run_bundle(BUNDLE, *train, "--output_dir", str(tmp_path / "b"), *go_on)
    parts = [load_state(tmp_path / "b" / f"{name}.pt") for name in ("model", "encoder", "detail_encoder")]
    assert all(bool(value.isfinite().all()) for part in parts for value in part.values())
