"""retina_stylegan3 before its weights: trains, resumes, evaluates, samples, exports; its presets build."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, run, verify_metadata, verify_net_in_out

import monai_retina_gen
from monai_retina_gen.data import read_manifest
from monai_retina_gen.generators import StyleGAN3Generator, load_critic, load_generator, regenerate
from monai_retina_gen.weights import latest_checkpoint, load_network, load_state
from monai_retina_gen.zoo.packing import pin

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "bundles" / "retina_stylegan3"
SCHEMA = Path(monai_retina_gen.__file__).parent / "zoo" / "schemas" / "meta_schema_20240725.json"
TINY = {"image_size": 32, "channel_base": 256, "channel_max": 8, "z_dim": 8, "w_dim": 8}
LEARNING = {"batch_size": 8, "r1_interval": 2, "augment_p": 0.3, "mirror": 0.5, "extractor": "pixels", "device": "cpu"}


@pytest.fixture(scope="module")
def own(phantom_folder: Path) -> dict[str, Any]:
    return {"datalist": str(phantom_folder / "datalist.json"), "dataset_dir": str(phantom_folder)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, own: dict[str, Any]) -> Path:
    """A copy whose networks are tiny, trained for two epochs, with the weights pinned."""
    folder = tmp_path_factory.mktemp("bundles") / "retina_stylegan3"
    shutil.copytree(BUNDLE, folder, ignore=shutil.ignore_patterns("output", "models", "training", "*.png"))
    for name in ("train", "inference"):
        path = folder / "configs" / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | TINY))
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 8
    metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"] = [32, 32]
    path.write_text(json.dumps(metadata))
    train(folder, own, max_epochs=2)
    pin(folder, folder / "output" / "model.pt")
    return folder


def train(folder: Path, own: dict[str, Any], output: str = "output", **options: Any) -> dict[str, Any]:
    """Run train.json and give its last checkpoint."""
    settings = LEARNING | {"val_interval": 1, "val_samples": 1, "output_dir": str(folder / output)} | own | options
    run(
        config_file=str(folder / "configs" / "train.json"),
        meta_file=str(folder / "configs" / "metadata.json"),
        bundle_root=str(folder),
        **settings,
    )
    state: dict[str, Any] = torch.load(latest_checkpoint(folder / output), weights_only=True)
    return state


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(equal, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else bool(one == two)


def test_resumed_training_equals_the_uninterrupted_one(bundle: Path, own: dict[str, Any]) -> None:
    options = {"perceptual_weight": 0.6, "perceptual_network": "untrained", "perceptual_pairing": "nearest"}
    options |= {"perceptual_queue": 12, "config": "r"}  # with its blur
    whole = train(bundle, own, "whole", max_epochs=2, **options)
    train(bundle, own, "parts", max_epochs=1, **options)
    parts = train(bundle, own, "parts", max_epochs=2, resume=True, **options)
    assert whole["trainer"]["iteration"] == 2 * 3  # 24 phantoms in batches of 8
    assert int(whole["perceptual"]["queue.pushed"]) == 2 * 3 * 8
    assert equal(whole, parts)


def test_encoder_learns_along_and_is_written(bundle: Path, own: dict[str, Any]) -> None:
    options = {"perceptual_weight": 0.6, "perceptual_network": "untrained", "perceptual_pairing": "encoded"}
    state = train(
        bundle,
        own,
        "encoded",
        max_epochs=1,
        encoder_def={
            "_target_": "monai_retina_gen.networks.StyleEncoder",
            "w_dim": 8,
            "channels": [4, 4, 8, 8, 8],
            "pyramid": 8,
            "hidden": 16,
        },
        **options,
    )
    written = load_state(bundle / "encoded" / "encoder.pt")
    for name, value in written.items():
        torch.testing.assert_close(value.float(), state["perceptual"][f"encoder.{name}"], atol=1e-3, rtol=1e-3)
    assert len(state["g_optimizer"]["param_groups"]) == 2


def test_optimisers_averages_and_lazy_penalty(bundle: Path, own: dict[str, Any]) -> None:
    state = load_checkpoint(bundle)
    (group,), lazy = state["d_optimizer"]["param_groups"], 2 / 3  # a penalty at every second step
    assert group["lr"] == pytest.approx(0.002 * lazy)
    assert group["betas"] == pytest.approx((0.0, 0.99**lazy))
    assert state["generator"]["w_avg"].abs().sum() > 0
    assert state["generator"]["synthesis.layers.5.magnitude_ema"] != 1
    for name in ("w_avg", "synthesis.layers.5.magnitude_ema"):  # buffers are copied, weights averaged
        assert torch.equal(state["ema"][name], state["generator"][name])


def load_checkpoint(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(latest_checkpoint(folder / "output"), weights_only=True)
    return state


def test_going_on_from_a_training_and_from_another_resolution(bundle: Path, own: dict[str, Any]) -> None:
    start = str(bundle / "output" / "training_state.pt")
    gone_on = train(bundle, own, "gone_on", max_epochs=1, init_training=start, learning_rate=0.0)
    before = load_state(start)
    for network in ("generator", "ema"):
        name = "latent_mapping.layers.0.weight"
        torch.testing.assert_close(gone_on[network][name], before[f"{network}.{name}"].float(), rtol=1e-2, atol=1e-2)
    assert parsed("train", init_training=start).get_parsed_content("ema_ramp_up") == 0
    start = str(bundle / "output" / "model.pt")
    larger = train(bundle, own, "larger", max_epochs=1, image_size=64, init_weights=start, learning_rate=0.0)
    small = load_state(bundle / "output" / "model.pt")
    assert torch.equal(larger["generator"]["synthesis.input.weight"], small["synthesis.input.weight"])


def test_samples_by_monais_command(bundle: Path, tmp_path: Path) -> None:
    run(
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        output_dir=str(tmp_path),
        num_samples=1,
        device="cpu",
        sample_options={"truncation": 0.7},
    )
    entries = read_manifest(tmp_path)
    assert sorted(entry["grade"] for entry in entries) == [0, 1, 2, 3, 4]
    generator = load_generator(bundle)
    assert isinstance(generator, StyleGAN3Generator)
    record = generator.sample([2], seeds=[4], truncation=0.7).records[0]
    assert regenerate(record.to_json(), bundle=bundle).image.shape == (1, 3, 32, 32)


def test_evaluates_by_monais_command(bundle: Path, own: dict[str, Any], tmp_path: Path) -> None:
    run(
        config_file=[str(bundle / "configs" / "train.json"), str(bundle / "configs" / "evaluate.json")],
        bundle_root=str(bundle),
        output_dir=str(tmp_path),
        extractor="pixels",
        device="cpu",
        sample_options={"truncation": 0.7},
        **own,
    )
    assert list(tmp_path.glob("*.json"))


def test_verified_by_monai(bundle: Path, own: dict[str, Any], tmp_path: Path) -> None:
    configs = bundle / "configs"
    for metadata in (configs, BUNDLE / "configs"):
        verify_metadata(meta_file=str(metadata / "metadata.json"), filepath=str(SCHEMA))
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
    )
    for workflow in ("train", "inference"):
        found = ConfigWorkflow(
            workflow_type=workflow,
            config_file=str(configs / f"{workflow}.json"),
            meta_file=str(configs / "metadata.json"),
            logging_file=str(configs / "logging.conf"),
            bundle_root=str(bundle),
            output_dir=str(tmp_path),
            device="cpu",
            **own,
        )
        found.initialize()
        assert not found.check_properties()


def test_exports_with_and_without_a_grade(bundle: Path) -> None:
    network = load_network(bundle)
    alone, graded = (torch.randn(2, 8),), (torch.randn(2, 8), torch.tensor([0, 4]))
    exported = torch.export.export(network, graded).module()
    torch.testing.assert_close(exported(*graded), network(*graded), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.jit.trace(network, alone)(*alone), network(*alone), atol=1e-4, rtol=1e-4)


def test_discriminator_is_found_for_ranking(bundle: Path) -> None:
    (bundle / "training").mkdir(exist_ok=True)
    shutil.copy(bundle / "output" / "training_state.pt", bundle / "training" / "state.pt")
    critic = load_critic(bundle)
    assert critic is not None
    assert critic(torch.zeros(4, 3, 32, 32), torch.arange(4)).shape == (4,)


def parsed(*names: str, **options: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / f"{name}.json") for name in names])
    parser.update({"bundle_root": str(BUNDLE), "device": "cpu"} | options)
    return parser


@pytest.mark.parametrize(
    ("presets", "image_size", "parameters"),
    [(("256px",), 256, 8_573_351), (("512px",), 512, 7_585_475), (("zhao2023",), 256, 28_472_133)],
)
def test_presets_build(presets: tuple[str, ...], image_size: int, parameters: int) -> None:
    config = parsed("train", *presets)
    network = config.get_parsed_content("network_def")
    assert network.image_size == image_size
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert config.get_parsed_content("r1_gamma") == pytest.approx(2.0 * (image_size / 256) ** 2)
    inference = parsed("inference", *presets)  # samples from what train.json with the same preset has trained
    keys = ("image_size", "config", "z_dim", "w_dim", "num_classes", "channel_base", "channel_max")
    assert [inference[key] for key in keys] == [config[key] for key in keys]


def test_preset_of_zhao_et_al() -> None:
    """Section 4 of the paper, and Eq. 1."""
    config = parsed("train", "zhao2023")
    wanted = {"config": "t", "channel_base": 32768, "channel_max": 512, "perceptual_weight": 0.6}
    wanted |= {"perceptual_pairing": "random", "learning_rate": 0.0025, "discriminator_learning_rate": 0.002}
    assert {key: config.get_parsed_content(key) for key in wanted} == wanted
    assert config.get_parsed_content("loss").generator_weight == pytest.approx(0.4)


def test_several_processes_take_the_steps_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    parser = parsed("train", "multi_gpu_train")
    alone = [step for step in parsed("train")["run"] if step != "@stop"]  # processes do not stop at one step
    assert len(parser["run"]) == len(alone)
    assert math.isfinite(parser.get_parsed_content("lazy"))


@pytest.mark.slow
def test_two_processes_train_together(bundle: Path, own: dict[str, Any], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["monai.bundle", "run", "--config_file", "['configs/train.json','configs/multi_gpu_train.json']"]
    options = LEARNING | own | {"batch_size": 4, "max_epochs": 1, "val_interval": 1, "output_dir": str(tmp_path)}
    options |= {"perceptual_weight": 0.6, "perceptual_network": "untrained", "perceptual_pairing": "nearest"}
    del options["device"]
    command += [word for key, value in options.items() for word in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    state = torch.load(latest_checkpoint(tmp_path), weights_only=True)
    assert state["trainer"]["iteration"] == 3  # 24 phantoms, two processes with batches of 4
    assert state["trainer"]["images_seen"] == 24


def test_imitates_another_generator(tmp_path: Path, own: dict[str, Any], bundles_dir: Path) -> None:
    """Checkpoints to resume from, a moving average, and a state that train.json goes on with."""
    tiny = TINY | {"z_dim": 128, "batch_size": 2, "images_per_epoch": 4, "warmup": 1, "group_size": 1}
    options = tiny | own | {"extractor": "pixels", "device": "cpu", "val_interval": 1, "val_samples": 1}
    options |= {"teacher": str(bundles_dir / "retina_wgan_gp"), "output_dir": str(tmp_path)}
    presets = [str(BUNDLE / "configs" / f"{name}.json") for name in ("train", "imitate")]
    run(config_file=presets, bundle_root=str(BUNDLE), max_epochs=1, **options)
    run(config_file=presets, bundle_root=str(BUNDLE), max_epochs=2, resume=True, **options)
    state = torch.load(latest_checkpoint(tmp_path), weights_only=True)
    assert state["trainer"]["iteration"] == 4
    average, trained = state["ema"], state["generator"]
    assert not torch.equal(average["synthesis.layers.3.weight"], trained["synthesis.layers.3.weight"])
    assert trained["w_avg"].abs().sum() > 0
    left = load_state(tmp_path / "training_state.pt")
    assert {name.split(".")[0] for name in left} == {"generator", "discriminator", "ema"}
