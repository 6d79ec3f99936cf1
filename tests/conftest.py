"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.data import LESION_MASKS, EyeGeometry, LesionBank, PhantomDataset, write_phantoms
from monai_retina_gen.data.bank_building import EyeMasks, eye_bank
from monai_retina_gen.data.phantom.fundus import MASKS
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.weights import CHECKPOINT, save_state, sha256_file

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # helpers beside this file
collect_ignore = ["benchmarks"]  # scripts, which hold no tests

# Tests are small and run side by side; several threads each would only wait for one another.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def mrg_data() -> Path:
    """Folder of the real photographs (`idrid/`, `hrf/`, `chasedb1/`): `MRG_DATA`, or `../shared/data`."""
    root = Path(os.environ.get("MRG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "idrid" / "splits.csv").is_file():
        pytest.skip(f"real photographs not found at {root}: set MRG_DATA to their folder")
    return root


@pytest.fixture(scope="session")
def bundles_dir() -> Path:
    """The repository's bundles."""
    return REPOSITORY / "bundles"


VAE_NETWORK = {
    "_target_": "monai_retina_gen.networks.FundusVAE",
    "image_size": 64,
    "latent_dim": 8,
    "channels": [8, 8, 8, 8],
}


@pytest.fixture(scope="session")
def vae_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature bundle `tiny_vae` (64 px, untrained) with a pinned hash."""
    bundle = tmp_path_factory.mktemp("bundles") / "tiny_vae"
    (bundle / "configs").mkdir(parents=True)
    torch.manual_seed(0)
    network = FundusVAE(image_size=64, latent_dim=8, channels=(8, 8, 8, 8))
    save_state(network.state_dict(), bundle / CHECKPOINT, half=True)
    generator = {"_target_": "monai_retina_gen.generators.VAEGenerator", "network": "@network_def"}
    inference = {"bundle_root": ".", "network_def": VAE_NETWORK, "generator": generator}
    (bundle / "configs" / "inference.json").write_text(json.dumps(inference))
    pin = {"version": "0.0.1", "weights": {CHECKPOINT: {"sha256": sha256_file(bundle / CHECKPOINT)}}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(pin))
    return bundle


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 phantoms at 64 px with masks and a datalist, grades in turn."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, count=40, size=64, seed=3, splits=(0.6, 0.2, 0.2), grades=range(5))
    return folder


def eye_masks(item: dict[str, Any]) -> EyeMasks:
    """Masks of a phantom as `build_lesion_bank` reads them from files."""
    plane = {name: item[name][0].numpy() >= 0.5 for name in MASKS}
    geometry = EyeGeometry.from_masks(plane["fov"], plane["od"])
    lesions = {name: plane[name] for name in LESION_MASKS}
    return EyeMasks(geometry, plane["fov"], plane["od"], lesions, frozenset(lesions))


@pytest.fixture(scope="session")
def phantom_bank() -> LesionBank:
    """Lesions of 60 phantoms of 128 px, grades 1 to 4 in turn; drawn in memory."""
    dataset = PhantomDataset(length=60, size=128, seed=21, grades=(1, 2, 3, 4), masks=True)
    eyes = [(f"phantom{i}", dataset[i]["grade"], eye_masks(dataset[i])) for i in range(60)]
    return LesionBank.joined([eye_bank(*eye, diameter=128, min_area=1) for eye in eyes])


@pytest.fixture
def in_fork() -> Callable[[Callable[[], Any]], Any]:
    """Calls a function in a forked child and returns what it returns; a child that hangs for 20 s fails the test."""
    if not hasattr(os, "fork"):
        pytest.skip("nothing forks here")

    def call(function: Callable[[], Any]) -> Any:
        receive, send = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=lambda: send.send(function()))
        process.start()
        try:
            assert receive.poll(20), "the child hangs or failed"
            return receive.recv()
        finally:
            process.kill()
            process.join()

    return call
