"""Importing converted checkpoints of the original StyleGAN3, and the command of style statistics."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_retina_gen.__main__ import main
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.generators import load_generator
from monai_retina_gen.generators.style_statistics import load_style_statistics
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.weights import sha256_file
from monai_retina_gen.weights.import_stylegan3 import import_stylegan3, infer_configuration

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURE = REPOSITORY.parent / "shared" / "fixtures" / "stylegan3_t32.npz"


@pytest.fixture(autouse=True)
def _bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(REPOSITORY / "bundles"))


def original_names(network: StyleGAN3) -> dict[str, torch.Tensor]:
    """Our state under the original's names."""
    state = {}
    for name, value in network.state_dict().items():
        name = re.sub(r"^latent_mapping\.layers\.(\d+)", r"mapping.fc\1", name)
        name = name.replace("latent_mapping.embed", "mapping.embed").replace("input.frequencies", "input.freqs")
        if match := re.match(r"synthesis\.layers\.(\d+)\.(.*)", name):
            target = network.synthesis.layers[int(match[1])].plan.target  # type: ignore[union-attr]
            name = f"synthesis.L{match[1]}_{target.size}_{target.channels}.{match[2]}"  # type: ignore[union-attr]
        state["mapping.w_avg" if name == "w_avg" else name] = value
    return state


def test_reference_network_gives_its_reference_images(tmp_path: Path) -> None:
    if not FIXTURE.is_file():
        pytest.skip(f"reference numbers not found at {FIXTURE}")
    numbers = np.load(FIXTURE)
    state = {key[3:]: torch.from_numpy(numbers[key]) for key in numbers.files if key.startswith("sd/")}
    torch.save(state, tmp_path / "state.pt")
    assert (
        main(["model", "import-stylegan3", "--weights", str(tmp_path / "state.pt"), "--out", str(tmp_path / "mine")])
        == 0
    )
    generator = load_generator(tmp_path / "mine")
    with torch.no_grad():
        image = generator.network(torch.from_numpy(numbers["in/z"]))
    wanted = torch.from_numpy(numbers["out/plain/img"])
    assert (image - wanted).norm() / wanted.norm() < 2e-5
    assert main(["model", "style-statistics", "--generator", str(tmp_path / "mine"), "--samples", "50"]) == 0
    assert len(load_style_statistics(tmp_path / "mine").mean) == generator.style_space.size  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        {"config": "r", "num_classes": 3, "channel_base": 256, "channel_max": 8},
        {"config": "t", "num_classes": 0, "channel_base": 128, "channel_max": 32, "mapping_layers": 3},
    ],
)
def test_configuration_follows_from_names_and_shapes(arguments: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    wanted = {"image_size": 64, "z_dim": 8, "w_dim": 12, "mapping_layers": 2} | arguments
    network = StyleGAN3(**wanted).eval()  # type: ignore[arg-type]
    state = original_names(network)
    found = infer_configuration(state)
    assert {k: found[k] for k in ("image_size", "config", "z_dim", "w_dim", "num_classes", "mapping_layers")} == {
        k: wanted[k] for k in ("image_size", "config", "z_dim", "w_dim", "num_classes", "mapping_layers")
    }
    torch.save(state, tmp_path / "state.pt")
    bundle = import_stylegan3(tmp_path / "state.pt", tmp_path / "mine")
    imported = load_generator(bundle).network
    latent, grade = torch.randn(2, 8), torch.tensor([0, 2]) if arguments["num_classes"] else None
    with torch.no_grad():
        torch.testing.assert_close(imported(latent, grade), network(latent, grade))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert "not known" in metadata["weights_licence"]
    assert metadata["weights"]["models/model.pt"]["sha256"] == sha256_file(bundle / "models" / "model.pt")


def test_safetensors(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="the package safetensors is not installed")
    network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, channel_base=256, channel_max=8)
    safetensors.save_file(
        {k: v.contiguous() for k, v in original_names(network).items()}, tmp_path / "state.safetensors"
    )
    bundle = import_stylegan3(tmp_path / "state.safetensors", tmp_path / "mine")
    assert torch.equal(load_generator(bundle).network.w_avg, network.w_avg)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, channel_base=256, channel_max=8)
    (tmp_path / "objects.pkl").write_bytes(pickle.dumps({"G_ema": Exception("not a tensor")}))
    with pytest.raises(WeightsError, match="weights_only=True"):
        import_stylegan3(tmp_path / "objects.pkl", tmp_path / "mine")
    torch.save(network.state_dict(), tmp_path / "ours.pt")  # names that are not the original's
    with pytest.raises(WeightsError, match=r"synthesis\.L0_36_512\.weight"):
        import_stylegan3(tmp_path / "ours.pt", tmp_path / "mine")
    state = original_names(network)
    del state["synthesis.input.phases"]
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(WeightsError, match="phases"):
        import_stylegan3(tmp_path / "part.pt", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    with pytest.raises(ValueError, match="exists"):
        import_stylegan3(tmp_path / "part.pt", tmp_path)


def test_statistics_of_another_kind_of_generator(vae_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "style-statistics", "--generator", str(vae_bundle)]) == 2
    assert "only a StyleGAN3 has styles" in capsys.readouterr().err
