"""A bundle with more than one network: addressed, pinned, loaded, and refused where it reaches out of its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import FundusGrader
from monai_retina_gen.weights import (
    load_network,
    load_state,
    pinned_sha256,
    save_parts,
    save_state,
    split_bundle_name,
    weights_file,
    weights_files,
)
from monai_retina_gen.zoo.packing import pin

NETWORK = {"_target_": "monai_retina_gen.networks.FundusGrader", "backbone": "vgg16", "width": 0.0625}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    for name, path in (("inference", "models/model.pt"), ("second", "models/second.pt")):
        torch.manual_seed(len(name))
        save_state(FundusGrader(backbone="vgg16", width=0.0625).state_dict(), tmp_path / path, half=True)
        config = {"network_def": NETWORK} | ({} if name == "inference" else {"weights_file": path})
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(config))
    return tmp_path


def test_each_network_has_its_own_weights_and_pin(bundle: Path) -> None:
    pins = pin(bundle) | pin(bundle, config_name="second")
    for file in ("models/model.pt", "models/second.pt"):  # the second pin kept the first
        assert pinned_sha256(bundle, file) == pins[file]["sha256"]
    first, second = load_network(bundle), load_network(bundle, config_name="second")
    image = torch.rand(1, 3, 32, 32)
    assert not torch.equal(first(image), second(image))
    (bundle / "models" / "second.pt").write_bytes((bundle / "models" / "model.pt").read_bytes())
    with pytest.raises(WeightsError, match="is pinned"):
        load_network(bundle, config_name="second")


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/model.pt", "models/../../x.pt"])
def test_weights_outside_the_bundle_are_refused(path: str) -> None:
    with pytest.raises(WeightsError, match="outside the bundle"):
        weights_file({"weights_file": path})


def test_names_of_networks() -> None:
    assert split_bundle_name("some/folder:cross_fitted") == ("some/folder", "cross_fitted")
    assert split_bundle_name("C:\\bundles\\own") == ("C:\\bundles\\own", "inference")
    assert split_bundle_name("retina_vae") == ("retina_vae", "inference")


def test_a_network_in_two_files(bundle: Path) -> None:
    path = bundle / "configs" / "second.json"
    whole = load_state(bundle / "models" / "second.pt")
    files = save_parts(whole, bundle / "models" / "two.pt", half=True, most=80_000)
    assert len(files) == 2
    config = json.loads(path.read_text()) | {"weights_file": [f"models/{file.name}" for file in files]}
    path.write_text(json.dumps(config))
    assert weights_files(config) == list(pin(bundle, config_name="second"))
    network = load_network(bundle, config_name="second")
    assert all(torch.equal(value, whole[name].float()) for name, value in network.state_dict().items())
    with pytest.raises(WeightsError, match=r"2 files .*one is wanted"):
        weights_file(config)
    files[1].write_bytes(files[0].read_bytes())
    with pytest.raises(WeightsError, match="is pinned"):
        load_network(bundle, config_name="second")
    path.write_text(json.dumps(config | {"weights_file": ["models/two_1.pt"]}))
    with pytest.raises(WeightsError, match="does not fit FundusGrader"):
        load_network(bundle, config_name="second")
