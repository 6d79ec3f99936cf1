"""Activation maps on phantoms: scars and membranes drawn over healthy eyes, learned from labels of whole images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import load_datalist, phantom_fundus, read_mask, save_datalist, write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.networks import ActivationMapClassifier
from monai_retina_gen.transforms.segmenting.activation_maps import train_classifier

COLUMNS = {"laser": "has_laser", "membrane": "has_membrane"}
SIZE, TRAINED, TESTED = 48, 64, 24


def eye(seed: int) -> tuple[Tensor, Tensor]:
    """A healthy phantom under the scars and membranes of a proliferative one."""
    masks = phantom_fundus(seed + 10**6, grade=4, size=SIZE).masks
    image = phantom_fundus(seed, grade=0, size=SIZE).image
    for name in COLUMNS:
        image = image + 0.7 * masks[name] * (torch.tensor([0.9, 0.87, 0.75]).view(3, 1, 1) - image)
    return image, torch.cat([masks[name] for name in COLUMNS])


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], Tensor]:
    folder, items, masks = tmp_path_factory.mktemp("findings"), [], []
    for seed in range(TRAINED + TESTED):
        image, truth = eye(seed)
        write_image(folder / f"{seed}.png", image)
        shown = (truth.amax((1, 2)) > 0).int().tolist()
        items.append({"image": str(folder / f"{seed}.png"), "has_laser": shown[0], "has_membrane": shown[1]})
        masks.append(truth)
    return folder, items, torch.stack(masks[TRAINED:])


def test_maps_find_scars_and_membranes(eyes: tuple[Path, list[dict[str, Any]], Tensor]) -> None:
    _, items, truth = eyes
    network = train_classifier(items[:TRAINED], COLUMNS, image_size=44, epochs=20)
    images = torch.stack([read_image(item["image"]) for item in items[TRAINED:]])
    logits, maps, masks = network(images), network.activation_maps(images), network.masks(images)
    for index, (finding, pixel_auc) in enumerate({"laser": 0.6, "membrane": 0.85}.items()):
        shown = truth[:, index].amax((1, 2)) > 0
        assert roc_auc_score(shown, logits[:, index]) > 0.9, finding
        where = truth[shown, index] > 0.3
        assert roc_auc_score(where.flatten(), maps[shown, index].flatten()) > pixel_auc, finding
        assert masks[~shown, index].float().mean() < masks[shown, index].float().mean() / 2


def test_command(eyes: tuple[Path, list[dict[str, Any]], Tensor], tmp_path: Path, capsys: Any) -> None:
    folder, items, _ = eyes
    save_datalist(load_datalist({"training": items[:8], "test": items[8:10]}), folder / "list.json")
    command = [
        "model",
        "activation-maps",
        "--datalist",
        str(folder / "list.json"),
        "--image-size",
        "44",
        "--epochs",
        "1",
    ]
    columns = [f"{name}={column}" for name, column in COLUMNS.items()]
    assert main([*command, "--columns", *columns, "--out", str(tmp_path)]) == 0
    written = load_datalist(tmp_path / "datalist.json")
    assert read_mask(written["test"][0]["membrane"]).shape == (1, SIZE, SIZE)
    assert written["test"][0]["has_laser"] == items[8]["has_laser"]
    for wrong in (["laser"], ["nothing=has_laser"], ["laser=laser"]):
        assert main([*command, "--columns", *wrong, "--out", str(tmp_path)]) == 2
        assert "want MASK=COLUMN" in capsys.readouterr().err


def test_labels_that_cannot_be_learned() -> None:
    with pytest.raises(DatalistError, match="1 in 0 of 1"):
        train_classifier([{"image": "a.png", "x": 0}], {"laser": "x"})
    with pytest.raises(DatalistError, match=r"want 0 or 1.*a.png"):
        train_classifier([{"image": "a.png", "x": 3}], {"laser": "x"})
    with pytest.raises(ValueError, match="sharpness"):
        ActivationMapClassifier(sharpness=0)


def test_pooling_lies_between_mean_and_maximum() -> None:
    image = torch.rand(2, 3, 16, 16)
    network = ActivationMapClassifier(channels=(4, 4)).eval()
    maps = network._maps(image).flatten(2)
    for sharpness in (0.1, 1.0, 100.0):
        network.sharpness = sharpness
        pooled = network(image)
        assert (pooled >= maps.mean(2) - 1e-4).all()
        assert (pooled <= maps.amax(2) + 1e-4).all()
    network.sharpness = 0.01
    torch.testing.assert_close(network(image), maps.mean(2), atol=1e-2, rtol=1e-2)
