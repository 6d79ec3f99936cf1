"""retina_drgan: trains in both stages, resumes, evaluates, synthesizes, exports; its presets build."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, run, verify_metadata, verify_net_in_out

import monai_retina_gen
from monai_retina_gen.data import CONDITION_KEYS, read_manifest
from monai_retina_gen.generators import DRGANGenerator, load_generator
from monai_retina_gen.weights import latest_checkpoint, load_network, load_state
from monai_retina_gen.zoo.packing import pin

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "bundles" / "retina_drgan"
SCHEMA = Path(monai_retina_gen.__file__).parent / "zoo" / "schemas" / "meta_schema_20240725.json"
TINY = {"image_size": 32, "base_width": 4, "residual_blocks": 1}
LEARNING = {"batch_size": 12, "discriminator_scales": 2, "extractor": "pixels", "device": "cpu"}
LEARNING |= {"perceptual_network": "untrained"}
ABLATIONS = {
    "without_lesion_masks": ("condition_keys", ["vessel", "od", "fov"]),
    "without_agm": ("grading_vectors", False),
    "without_perceptual": ("perceptual_weight", 0.0),
    "without_classification": ("grade_weight", 0.0),
    "without_sca": ("attention", False),
}


@pytest.fixture(scope="module")
def own(phantom_folder: Path) -> dict[str, Any]:
    return {"datalist": str(phantom_folder / "datalist.json"), "dataset_dir": str(phantom_folder)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, own: dict[str, Any]) -> Path:
    """A copy whose networks are tiny, trained for two epochs, with the weights pinned."""
    folder = tmp_path_factory.mktemp("bundles") / "retina_drgan"
    shutil.copytree(BUNDLE, folder, ignore=shutil.ignore_patterns("output", "model.pt", "training", "*.png"))
    for name in ("train", "inference"):
        path = folder / "configs" / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | TINY))
    train(folder, own, max_epochs=2)
    pin(folder, folder / "output" / "model.pt")
    return folder


def train(folder: Path, own: dict[str, Any], output: str = "output", *presets: str, **options: Any) -> dict[str, Any]:
    """Run train.json, with presets, and give its last checkpoint."""
    settings = LEARNING | {"val_interval": 1, "val_samples": 1, "output_dir": str(folder / output)} | own | options
    run(
        config_file=[str(folder / "configs" / f"{name}.json") for name in ("train", *presets)],
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


def test_resumed_training_equals_the_uninterrupted_one_in_both_stages(bundle: Path, own: dict[str, Any]) -> None:
    options = {"stages": 2, "image_size": 64, "coarse_epochs": 1}
    whole = train(bundle, own, "whole", max_epochs=2, **options)
    first = train(bundle, own, "parts", max_epochs=1, **options)
    parts = train(bundle, own, "parts", max_epochs=2, resume=True, **options)
    assert whole["trainer"]["iteration"] == 2 * 2  # 24 phantoms in batches of 12
    assert [state["trainer"]["phase"] for state in (first, whole)] == [0, 1]
    assert equal(whole, parts)
    fine = "fine.down.0.weight"  # learns in the second phase alone
    assert not torch.equal(first["generator"][fine], whole["generator"][fine])
    assert torch.equal(first["generator"][fine], first["ema"][fine])
    # the best weights are those of the whole network
    torch.testing.assert_close(load_state(bundle / "whole" / "model.pt")[fine], whole["ema"][fine])


def test_grading_space_is_stored_with_the_weights(bundle: Path) -> None:
    stored = load_network(REPOSITORY / "bundles" / "retina_grader", config_name="grading_space").state_dict()
    weights = load_state(bundle / "models" / "model.pt")
    for name, value in stored.items():
        torch.testing.assert_close(weights[f"mapping.space.{name}"].to(value), value, atol=1e-2, rtol=1e-2)


def test_goes_on_from_weights_of_one_stage(bundle: Path, own: dict[str, Any]) -> None:
    start = str(bundle / "models" / "model.pt")
    options = {"stages": 2, "image_size": 64, "max_epochs": 1, "coarse_epochs": 0, "learning_rate": 0.0}
    state = train(bundle, own, "larger", init_weights=start, **options)
    name = "coarse.encoder.0.0.weight"
    torch.testing.assert_close(state["generator"][name], load_state(start)[name].float())


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_of_table_four(name: str, bundle: Path, own: dict[str, Any]) -> None:
    key, value = ABLATIONS[name]
    config = parsed("train", **{key: value})
    state = train(bundle, own, name, max_epochs=1, **{key: value})
    logged = {"without_perceptual": "perceptual", "without_classification": "grade"}.get(name)
    assert state["trainer"]["iteration"] == 2
    assert logged not in config.get_parsed_content("d_terms")
    names = state["generator"].keys()
    assert any("mapping" in n for n in names) == (name != "without_agm")
    assert any("attention" in n for n in names) == (name != "without_sca")
    channels = state["generator"]["coarse.encoder.0.0.weight"].shape[1]
    assert channels == (3 if name == "without_lesion_masks" else 9)


def test_learns_phantoms_that_are_drawn_on_the_way(bundle: Path) -> None:
    sizes = {"num_phantoms": 12, "num_val_phantoms": 6, "max_epochs": 1}
    state = train(bundle, {}, "phantoms", "phantoms", **sizes)
    assert state["trainer"]["images_seen"] == 12
    assert (bundle / "phantoms" / "samples" / "synthesis_0001.png").is_file()


def test_synthesizes_by_monais_command(bundle: Path, own: dict[str, Any], tmp_path: Path) -> None:
    options = {"bundle_root": str(bundle), "device": "cpu"}
    config = str(bundle / "configs" / "inference.json")
    run(config_file=config, output_dir=str(tmp_path / "drawn"), num_phantoms=5, **options)
    entries = read_manifest(tmp_path / "drawn")
    assert sorted(entry["grade"] for entry in entries) == [0, 1, 2, 3, 4]
    assert entries[0]["record"]["mode"] == "synthesize"
    assert entries[0]["record"]["options"]["missing_masks"] == []
    run(
        config_file=config,
        output_dir=str(tmp_path / "own"),
        grades=[0, 4],
        mask_keys=["vessel", "od", "fov"],
        **options,
        **own,
    )
    entries = read_manifest(tmp_path / "own")
    assert len(entries) == 2 * 8
    assert set(entries[0]["record"]["options"]["missing_masks"]) == set(CONDITION_KEYS) - {"vessel", "od", "fov"}


def test_evaluates_by_monais_command(bundle: Path, own: dict[str, Any], tmp_path: Path) -> None:
    run(
        config_file=[str(bundle / "configs" / "train.json"), str(bundle / "configs" / "evaluate.json")],
        bundle_root=str(bundle),
        output_dir=str(tmp_path),
        extractor="pixels",
        device="cpu",
        segmenter_size=64,
        graders=["retina_grader"],
        **own,
    )
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["data"]["n_generated"] == 8
    assert set(result["mask_agreement"]["generated"]) >= {"vessel", "od"}
    assert 0 <= result["mask_agreement"]["real"]["od"]["pr_auc"] <= 1
    assert result["grader_accuracy"][0]["generated"]["agreement"]["n"] == 8
    assert result["missing_masks"] == []


def test_verified_by_monai(bundle: Path, own: dict[str, Any], tmp_path: Path) -> None:
    configs = bundle / "configs"
    verify_metadata(meta_file=str(BUNDLE / "configs" / "metadata.json"), filepath=str(SCHEMA))
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
    alone, graded = (torch.rand(2, 9, 32, 32),), (torch.rand(2, 9, 32, 32), torch.tensor([0, 4]))
    exported = torch.export.export(network, graded).module()
    torch.testing.assert_close(exported(*graded), network(*graded), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.jit.trace(network, alone)(*alone), network(*alone), atol=1e-4, rtol=1e-4)


def test_loads_as_a_generator(bundle: Path) -> None:
    generator = load_generator(bundle)
    assert isinstance(generator, DRGANGenerator)
    batch = generator.synthesize({"vessel": torch.zeros(1, 1, 32, 32)}, [3], seeds=[1])
    assert batch.records[0].generator == "retina_drgan"


def parsed(*names: str, **options: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / f"{name}.json") for name in names])
    parser.update({"bundle_root": str(BUNDLE), "device": "cpu"} | options)
    return parser


def test_preset_of_zhou_et_al() -> None:
    """Section III and Eq. 1 of the paper."""
    config = parsed("train", "paper")
    wanted: dict[str, Any] = {
        "image_size": 1280,
        "stages": 2,
        "residual_blocks": 7,
        "batch_size": 16,
        "learning_rate": 1e-4,
    }
    wanted |= {"feature_matching_weight": 10.0, "perceptual_weight": 10.0, "grade_weight": 1.0, "norm": "batch"}
    wanted |= {"max_epochs": 20, "coarse_epochs": 10, "head": "pooled", "channel_energy": "sum"}
    assert {key: config.get_parsed_content(key) for key in wanted} == wanted
    assert [phase.name for phase in config.get_parsed_content("phases")] == ["coarse", "both"]
    network = config.get_parsed_content("network_def")
    scas = [block.attention for block in network.coarse.blocks if block.attention is not None]
    assert [(sca.values.in_channels, sca.keys.out_channels) for sca in scas] == [(512, 64), (256, 16), (128, 4)]


def test_shipped_weights_are_small() -> None:
    config = parsed("inference")
    network = config.get_parsed_content("network_def")
    assert sum(p.numel() for p in network.parameters()) * 2 < 15 * 2**20  # half precision
    keys = ("image_size", "base_width", "residual_blocks", "attention_side", "channel_energy", "norm", "upsampling")
    training = parsed("train")
    assert [config[key] for key in keys] == [training[key] for key in keys]


def test_several_processes_take_the_steps_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    alone = [step for step in parsed("train")["run"] if step != "@stop"]  # processes do not stop at one step
    assert len(parsed("train", "multi_gpu_train")["run"]) == len(alone)
