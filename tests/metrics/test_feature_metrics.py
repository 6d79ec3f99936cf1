"""The kernel distance as Ignite metric, the evaluation with its floor, and names beside MONAI's."""

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.bundle.config_item import ComponentLocator
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler
from torch import nn

import monai_retina_gen.metrics as metrics_room
from monai_retina_gen.metrics import KernelDistance, evaluate_features, extract_features
from monai_retina_gen.metrics.kernel import kernel_distance


def _images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def _mean_colour(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=(2, 3))


def _noise(n: int, d: int = 4, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + shift


def test_kernel_distance_over_batches_equals_all_at_once():
    real, generated = _images(20), _images(20, seed=1)
    engine = Engine(lambda _engine, index: {"y_pred": generated[index], "y": real[index]})
    KernelDistance(feature_extractor=_mean_colour).attach(engine, "direct")
    handler_engine = Engine(lambda _engine, index: (generated[index], real[index]))
    handler = IgniteMetricHandler(metric_fn=KernelDistance(feature_extractor=_mean_colour))
    handler.attach(handler_engine, "handler")
    batches = torch.arange(20).split(6)
    direct = engine.run(batches, max_epochs=2).metrics["direct"]
    assert direct == pytest.approx(float(kernel_distance(_mean_colour(real), _mean_colour(generated)).mean))
    assert handler_engine.run(batches, max_epochs=2).metrics["handler"] == direct


def test_reset_forgets_and_metadata_is_dropped():
    metric = KernelDistance(feature_extractor=_mean_colour)
    with pytest.raises(NotComputableError):
        metric.compute()
    metric.update((MetaTensor(_images(8), meta={"filename": "eye.png"}), _images(9, seed=1)))
    assert not isinstance(metric._generated[0], MetaTensor)
    metric.compute()
    metric.reset()
    with pytest.raises(NotComputableError):
        metric.compute()


def test_extractor_runs_in_evaluation_mode_without_gradients():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(192, 5)).train()
    first, second = (extract_features(_images(3), network) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert network.training


def test_extractor_with_maps_is_an_error():
    with pytest.raises(ValueError, match=r"feature_extractor gave \(2, 3, 8, 8\)"):
        extract_features(_images(2), nn.Identity())


def _evaluate(real, generated, **options):
    return evaluate_features(real, generated, extractor="noise", extractor_sha256="ab" * 32, permutations=99, **options)


def test_evaluation_of_fresh_samples_is_at_its_floor():
    results = _evaluate(_noise(200), _noise(200, seed=1))
    fid, kid = results["fid"], results["kid"]
    assert fid.floor_n == 100
    assert 0.4 < fid.ratio_to_floor < 2.5
    assert fid.value < fid.value_at_floor_n
    assert kid.p_value > 0.05
    assert kid.ratio_to_floor != kid.ratio_to_floor
    assert not fid.warnings


def test_evaluation_of_another_distribution_is_not():
    results = _evaluate(_noise(120), _noise(60, seed=1, shift=2.0))
    assert results["fid"].floor_n == 60
    assert results["fid"].ratio_to_floor > 10
    assert results["kid"].p_value == 0.01
    assert results["precision"].ratio_to_floor < 0.5


def test_evaluation_says_what_does_not_mean_anything():
    results = _evaluate(_noise(10, 32), _noise(40, 32, seed=1))
    assert [warning.split(":")[0] for warning in results["kid"].warnings] == [
        "10 real and 40 generated images",
        "no real-against-real floor",
    ]
    assert "rank-deficient (n <= d = 32), not comparable with papers" in results["fid"].warnings
    values = json.loads(json.dumps(results["fid"].as_dict(), allow_nan=False))
    assert (values["n_real"], values["n_generated"], values["dimension"]) == (10, 40, 32)
    assert values["extractor_sha256"] == "ab" * 32
    assert values["floor"] is None


def test_evaluation_needs_a_few_images():
    with pytest.raises(ValueError, match="generated has n = 5"):
        _evaluate(_noise(20), _noise(5))
    with pytest.raises(ValueError, match="splits = 0"):
        _evaluate(_noise(20), _noise(20), splits=0)


def test_public_names_are_unique_beside_monai():
    locator = ComponentLocator()
    for name in vars(metrics_room):
        found = locator.get_component_module_name(name)
        assert found is None or isinstance(found, str), f"{name} is also in {found}"
