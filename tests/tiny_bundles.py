"""All bundles with tiny networks: copied, trained, evaluated and used on one device, by MONAI's command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from monai.bundle import run

from monai_retina_gen.data import build_lesion_bank, load_datalist
from monai_retina_gen.generators.bundle_parts import install_lesion_bank
from monai_retina_gen.zoo.packing import pin

REPOSITORY = Path(__file__).resolve().parents[1]
GRADER = ["retina_grader", "retina_lesion_segmentation"]
PAINTER = "retina_lesion_painter"
GENERATORS = ["retina_vae", "retina_wgan", "retina_wgan_gp", "retina_drgan", "retina_stylegan3"]
NETWORKS: dict[str, dict[str, Any]] = {
    "retina_grader": {"image_size": 32},
    "retina_lesion_segmentation": {"image_size": 64, "channels": [4, 8, 8]},
    PAINTER: {"image_size": 64, "channels": [4, 8]},
    "retina_vae": {"image_size": 64},
    "retina_wgan": {"image_size": 64},
    "retina_wgan_gp": {"image_size": 64},
    "retina_drgan": {"image_size": 64, "base_width": 4, "residual_blocks": 1, "grading_vectors": False},
    "retina_stylegan3": {"image_size": 32, "channel_base": 256, "channel_max": 8, "z_dim": 8, "w_dim": 8},
}
"""Keys of both `train.json` and `inference.json`."""
LEARNING: dict[str, dict[str, Any]] = {
    PAINTER: {"perceptual_network": "untrained", "cache_device": "cpu"},  # caches copy the stand-in's tensors away
    "retina_vae": {"perceptual_network": "untrained"},
    "retina_wgan": {"extractor": "pixels"},
    "retina_wgan_gp": {"extractor": "pixels"},
    "retina_drgan": {"extractor": "pixels", "perceptual_network": "untrained", "discriminator_scales": 2},
    "retina_stylegan3": {"extractor": "pixels", "perceptual_network": "untrained", "perceptual_weight": 0.5}
    | {"r1_interval": 2, "augment_p": 0.3},
}
EVALUATING: dict[str, dict[str, Any]] = {
    PAINTER: LEARNING[PAINTER],
    "retina_drgan": {"graders": ["retina_grader"], "segmenter_size": 64},
}
USING: dict[str, dict[str, Any]] = {"retina_drgan": {"num_phantoms": 2}, "retina_wgan": {"generator#curated": False}}


def copy_bundle(name: str, folder: Path) -> Path:
    """The bundle in `folder`, without weights, its networks tiny."""
    bundle = folder / name
    unwanted = shutil.ignore_patterns("output", "models", "training", "*.png")
    shutil.copytree(REPOSITORY / "bundles" / name, bundle, ignore=unwanted)
    for config in ("train", "inference"):
        path = bundle / "configs" / f"{config}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | NETWORKS[name]))
    return bundle


def train(bundle: Path, phantoms: Path, device: str, **options: Any) -> Path:
    """Two epochs of `train.json` with validation and sample grids; the weights become the bundle's."""
    own = {"datalist": str(phantoms / "datalist.json"), "dataset_dir": str(phantoms)}
    settings = {
        "batch_size": 8,
        "max_epochs": 2,
        "val_interval": 1,
        "val_samples": 1,
        "output_dir": str(bundle / "output"),
    } | own
    _run(bundle, ["train"], device, settings | LEARNING.get(bundle.name, {}) | options)
    pin(bundle, bundle / "output" / "model.pt")
    if bundle.name == "retina_drgan":
        items = load_datalist(phantoms / "datalist.json", phantoms)["training"]
        install_lesion_bank(build_lesion_bank(items, diameter=64, min_area=1), bundle)
    return bundle


def evaluate(bundle: Path, phantoms: Path, device: str, **options: Any) -> None:
    """`evaluate.json` over `train.json`, on the validation photographs."""
    own = {"datalist": str(phantoms / "datalist.json"), "dataset_dir": str(phantoms), "section": "validation"}
    own |= {"output_dir": str(bundle / "evaluated")}
    own |= {"extractor": "pixels"} if bundle.name in GENERATORS else {}
    _run(bundle, ["train", "evaluate"], device, own | EVALUATING.get(bundle.name, {}) | options)
    assert list((bundle / "evaluated").iterdir())


def infer(bundle: Path, phantoms: Path, device: str, **options: Any) -> None:
    """`inference.json`: images of a generator, predictions of a grader, masks of a segmenter."""
    own = {"output_dir": str(bundle / "made")}
    if bundle.name in (*GRADER, PAINTER):
        own |= {"datalist": str(phantoms / "datalist.json"), "dataset_dir": str(phantoms), "section": "validation"}
    else:
        own |= {} if bundle.name == "retina_drgan" else {"num_samples": 1}  # type: ignore[dict-item]
    _run(bundle, ["inference"], device, own | USING.get(bundle.name, {}) | options)
    assert list((bundle / "made").iterdir())


def _run(bundle: Path, configs: list[str], device: str, settings: dict[str, Any]) -> None:
    run(
        config_file=[str(bundle / "configs" / f"{name}.json") for name in configs],
        meta_file=str(bundle / "configs" / "metadata.json"),
        bundle_root=str(bundle),
        device=device,
        **settings,
    )
