"""Data and inferer of the segmenter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.engines import FlippedWindowInferer, load_segmentation_data
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.handlers import MetricsFileHandler
from monai_retina_gen.networks import LesionSegmenter


def test_one_window_equals_the_network_on_the_whole_image() -> None:
    network, image = LesionSegmenter(channels=(4, 8, 8)).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = FlippedWindowInferer(window=64, flips=False, stride=4)(image, network)
        torch.testing.assert_close(found, torch.sigmoid(network(image)))


def test_windows_equal_monais_and_any_size_fits() -> None:
    network, image = nn.Conv2d(3, 2, 1).eval(), torch.rand(2, 3, 50, 70)
    with torch.no_grad():
        expected = torch.sigmoid(SlidingWindowInferer((32, 32), overlap=0.25, mode="gaussian")(image, network))
        found = FlippedWindowInferer(window=32, flips=True)(image, network)
    torch.testing.assert_close(found, expected)  # a convolution of one pixel does not see flips or windows


def test_flips_are_averaged() -> None:
    def ramp(image: Tensor) -> Tensor:
        return image[:, :1] * torch.linspace(-1, 1, image.shape[-1])

    image = torch.rand(1, 3, 32, 32)
    found = FlippedWindowInferer(window=32)(image, ramp)
    line = torch.linspace(-1, 1, 32)
    expected = (torch.sigmoid(image[:, :1] * line) + torch.sigmoid(-image[:, :1] * line)) / 2
    torch.testing.assert_close(found, expected)
    assert FlippedWindowInferer(window=32, amp=True)(image, nn.Conv2d(3, 2, 1)).dtype == torch.float32


def test_own_datalists_join(tmp_path: Path) -> None:
    paths = []
    for name, masks in (("with", True), ("without", False)):
        paths.append(str(write_phantoms(tmp_path / name, count=5, size=32, masks=masks)))
    joined = load_segmentation_data([paths[0], paths[0], paths[1]])
    assert [len(joined[section]) for section in ("training", "validation", "test")] == [8, 0, 2]
    with pytest.raises(DatalistError, match="at least one of the keys ma"):
        load_segmentation_data(paths[1])


def test_public_sets_join(mrg_data: Path) -> None:
    data = load_segmentation_data(["idrid", "hrf", "chasedb1"], mrg_data)
    lesions = {name: [i for i in data[name] if {"ma", "he", "ex", "se"} & set(i)] for name in data if data[name]}
    assert [len(lesions[name]) for name in ("training", "validation", "test")] == [42, 9, 30]
    assert len(data["official_test"]) == 27
    assert all("soft_masks" in item["ex"] for item in lesions["training"] if "ex" in item)
    assert not any("soft_masks" in item["ex"] for item in lesions["test"] if "ex" in item)
    groups = [{item["group"] for item in data[name]} for name in ("training", "validation", "test")]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_metrics_file_holds_plain_figures(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: None)
    MetricsFileHandler(path=str(tmp_path / "made" / "metrics.json")).attach(engine)
    figures = {"kappa": torch.tensor(0.5), "nested": {"a": 1.0}, "counts": torch.arange(2)}
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update(figures))
    engine.run([0])
    found = json.loads((tmp_path / "made" / "metrics.json").read_text())
    assert found == {"kappa": 0.5, "nested": {"a": 1.0}, "counts": [0, 1]}
