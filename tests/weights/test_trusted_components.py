"""A stranger's configuration: nothing but listed networks and generators is built, and nothing runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from monai_retina_gen import generators, networks
from monai_retina_gen.errors import UntrustedConfigError
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.weights import build_from_bundle
from monai_retina_gen.weights.trusted_config import (
    TRUSTED_GENERATORS,
    TRUSTED_MONAI_NETWORKS,
    trusted_components,
    unsafe_argument,
)

REPOSITORY = Path(__file__).resolve().parents[2]
NETWORK = {"_target_": "monai_retina_gen.networks.FundusVAE", "image_size": 64, "latent_dim": 8, "channels": [8] * 4}
WAYS = ["self", "argument", "list", "reference", "deep"]
RAN: list[Any] = []


def _is_generator(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, RetinaGenerator)


def planted(*arguments: Any, **options: Any) -> None:
    RAN.append((arguments, options))


@pytest.fixture
def changed(vae_bundle: Path, tmp_path: Path) -> Any:
    """The tiny bundle with entries of its configuration replaced."""
    bundle = tmp_path / "changed"
    shutil.copytree(vae_bundle, bundle)
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())

    def change(**entries: Any) -> Path:
        path.write_text(json.dumps(config | entries))
        return bundle

    return change


def test_the_lists_are_those_of_generators_and_networks() -> None:
    """Phantoms are drawn and rendered into folders: no network of a bundle, so not listed."""
    found = {name for name in vars(generators) if _is_generator(getattr(generators, name))}
    assert found >= set(TRUSTED_GENERATORS)
    assert not {"RetinaGenerator", "PhantomGenerator", "RenderedEyeGenerator"} & set(TRUSTED_GENERATORS)
    import monai.networks.nets as nets

    assert all(issubclass(getattr(nets, name), nn.Module) for name in TRUSTED_MONAI_NETWORKS)
    assert all(name.split(".")[1] != "transforms" for name in trusted_components())
    assert "monai_retina_gen.networks.draw_latents" not in trusted_components()  # a function
    assert hasattr(networks, "draw_latents")


@pytest.mark.parametrize(
    "generator",
    [
        {"_target_": "monai.transforms.LoadImage", "reader": "subprocess.Popen", "args": ["touch", "owned"]},
        {"_target_": "monai.transforms.Lambda", "func": "@network_def"},
        {"_target_": "monai.networks.nets.UNet", "act": "subprocess.Popen"},
        {"_target_": "monai.networks.nets.EfficientNetBN", "model_name": "b0"},
        {"_target_": "monai.networks.nets.DenseNet121", "pretrained": True},
        {"_target_": "monai.networks.nets.DenseNet121", "pretrained": 1},
        {"_target_": "monai.networks.nets.ViT", "download": True},
        {"_target_": "UNet", "spatial_dims": 2},
        {"_target_": "monai_retina_gen.generators.load_generator", "source": "retina_vae"},
        {"_target_": "monai_retina_gen.generators.RenderedEyeGenerator", "renderer": "@network_def", "store": "owned"},
        {"_target_": "monai_retina_gen.generators.VAEGenerator", "network": "@network_def", "_mode_": "debug"},
        {"_target_": "monai_retina_gen.generators.VAEGenerator", "network": "@network_def", "_disabled_": "$print(1)"},
        {"_target_": "monai_retina_gen.generators.VAEGenerator", "network": "@network_def", "_requires_": "@other"},
        {"_target_": "monai_retina_gen.generators.VAEGenerator", "network": {"_target_": "os.system", "command": "x"}},
        {"_target_": "monai_retina_gen.generators.VAEGenerator", "network": "@network_def", "temperature": "$1+1"},
        {"_target_": ["monai_retina_gen.generators.VAEGenerator"], "network": "@network_def"},
    ],
)
def test_other_components_and_arguments_are_refused(
    generator: dict[str, Any], changed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a))
    with pytest.raises(UntrustedConfigError, match="trust_code=True"):
        load_generator(changed(generator=generator, other={"_target_": "os.system", "command": "x"}))
    assert started == []


def test_macros_elsewhere_are_not_read(changed: Any) -> None:
    """MONAI reads the file that a `%` names wherever it stands."""
    network = build_from_bundle(changed(elsewhere="%/no/such/file.json::key"), "network_def")
    assert isinstance(network, networks.FundusVAE)


@pytest.mark.parametrize("name", ["UNet", "PatchDiscriminator"])
def test_networks_of_monai_are_built(name: str, changed: Any) -> None:
    options: dict[str, Any] = {"spatial_dims": 2, "in_channels": 3, "channels": 8}
    if name == "UNet":
        options |= {"out_channels": 1, "channels": [4, 8], "strides": [2], "norm": "batch"}
    bundle = changed(network_def={"_target_": f"monai.networks.nets.{name}", **options})
    assert isinstance(build_from_bundle(bundle, "network_def"), nn.Module)


@pytest.mark.parametrize("bundle", sorted((REPOSITORY / "bundles").iterdir()), ids=lambda path: path.name)
def test_own_bundles_need_no_trust(bundle: Path) -> None:
    for path in sorted((bundle / "configs").glob("*.json")):
        config = json.loads(path.read_text())
        if "weights_file" in config or path.stem == "inference":
            assert build_from_bundle(bundle, "network_def", config_name=path.stem) is not None


# --- fuzzing ----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["image_size", "channels", "network", "reader", "func", "_mode_", "_requires_", "_disabled_", "_desc_", "a.b", ""]
)
PLAIN = st.none() | st.booleans() | st.integers(-4, 300) | st.floats(allow_nan=False) | st.text(max_size=8)


def _plants(target: str) -> st.SearchStrategy[Any]:
    """Ways to have `target` called or imported."""
    call = {"_target_": target, "x": 1}
    return st.sampled_from(
        [
            call,
            {**call, "_mode_": "callable"},
            {"_target_": "monai.transforms.LoadImage", "reader": target},
            {"_target_": "monai.transforms.Lambda", "func": f"${target}()"},
            {**NETWORK, "_requires_": call},
            {**NETWORK, "_disabled_": f"$not __import__({target.rpartition('.')[0]!r})"},
            {**NETWORK, "use_aux": target},
            {**NETWORK, "latent_dim": f"$__import__({target.rpartition('.')[0]!r}) and 8"},
            f"${target}()",
            f"@{target}",
            f"%{target}",
            target,
        ]
    )


TARGETS = st.sampled_from(["os.system", "subprocess.Popen", "builtins.exec", f"{__name__}.planted", "pdb.runcall"])
VALUES = st.recursive(
    PLAIN | TARGETS.flatmap(_plants),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    plant=TARGETS.flatmap(_plants),
    around=VALUES,
    way=st.sampled_from(WAYS),
)
def test_nothing_planted_runs(plant: Any, around: Any, way: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = tmp_path_factory.mktemp("planted")
    (bundle / "configs").mkdir()
    config: dict[str, Any] = {
        "self": {"network_def": plant},
        "argument": {"network_def": {**NETWORK, "image_size": plant}},
        "list": {"network_def": {**NETWORK, "channels": [8, plant]}},
        "reference": {"network_def": {**NETWORK, "latent_dim": "@other"}, "other": [around, plant]},
        "deep": {"network_def": {**NETWORK, "channels": "@a::0"}, "a": [[8, "@b"]], "b": {"c": plant, "d": around}},
    }[way]
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    built: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monai.bundle.ConfigParser.get_parsed_content", lambda *a, **k: built.append(a))
        with pytest.raises(UntrustedConfigError):
            build_from_bundle(bundle, "network_def")
    assert built == []
    assert RAN == []


@given(value=st.text(max_size=30))
def test_texts_that_pass_are_words_or_references(value: str) -> None:
    if unsafe_argument("norm", value) == "":
        assert not set(value) & set("$%./\\()'\" ")
