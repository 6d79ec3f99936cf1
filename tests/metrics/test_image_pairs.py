"""LPIPS, MS-SSIM and diversity: reference packages, closed forms, invariants."""

from __future__ import annotations

import json
import math
import warnings

import lpips
import pytest
import torch
from pytorch_msssim import ms_ssim

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics import field_of_view_ms_ssim, lpips_distance, pair_diversity
from monai_retina_gen.metrics.diversity import _random_pairs, inscribed_square


def _images(n: int, size: int = 96, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _absolute(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean(dim=(1, 2, 3))


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return lpips_distance(a, b, _absolute)


@pytest.fixture(scope="module")
def network():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)


def test_lpips_module_fits_and_keeps_its_mode(network):
    a, b = _images(2, 64), _images(2, 64, seed=1)
    network.train()
    values = lpips_distance(a, b, network)
    assert network.training
    network.eval()
    torch.testing.assert_close(values, network(a, b, normalize=True).detach().flatten())
    assert not values.requires_grad
    assert lpips_distance(a, a, network).tolist() == [0, 0]


def test_network_with_one_figure_for_the_batch_is_an_error():
    with pytest.raises(ValueError, match="one figure each"):
        lpips_distance(_images(2), _images(2), lambda a, b: (a - b).mean())


def test_ms_ssim_is_the_package_on_the_inscribed_square():
    a, b = _images(2, 256), (_images(2, 256) * 0.9)
    inner = slice((256 - 181) // 2, (256 - 181) // 2 + 181)
    oracle = ms_ssim(a[..., inner, inner], b[..., inner, inner], data_range=1.0, size_average=False)
    torch.testing.assert_close(field_of_view_ms_ssim(a, b), oracle)


@pytest.mark.parametrize("size", [64, 65, 228, 511])
def test_inscribed_square_lies_in_the_circle(size):
    axis = torch.arange(size) - (size - 1) / 2
    distance = (axis[:, None] ** 2 + axis**2).sqrt()
    square = inscribed_square(distance.expand(1, 1, size, size))
    assert float(square.max()) <= size / 2
    assert abs(square.shape[-1] - size / 2**0.5) < 1


def test_black_corners_do_not_count():
    a, b = _images(1), _images(1, seed=1)
    start = (96 - 67) // 2
    outside = torch.ones(96, 96, dtype=torch.bool)
    outside[start : start + 67, start : start + 67] = False
    before = field_of_view_ms_ssim(a, b, win_size=5)
    a, b = a.masked_fill(outside, 0), b.masked_fill(outside, 0)
    assert field_of_view_ms_ssim(a, b, win_size=5) == before


def test_ms_ssim_needs_size_and_squares():
    with pytest.raises(ImageValueError, match="67 pixels and must exceed 160"):
        field_of_view_ms_ssim(_images(1), _images(1))
    field_of_view_ms_ssim(_images(1, 228), _images(1, 228))
    with pytest.raises(ImageValueError, match="must exceed 160"):
        field_of_view_ms_ssim(_images(1, 227), _images(1, 227))
    with pytest.raises(ImageValueError, match="pass square images"):
        inscribed_square(torch.rand(1, 3, 8, 9))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 40])
def test_random_pairs_are_all_distinct_pairs(n):
    pairs = _random_pairs(n, 10_000, torch.Generator().manual_seed(0))
    assert {tuple(sorted(p)) for p in pairs.tolist()} == {(i, j) for j in range(n) for i in range(j)}
    assert len(pairs) == n * (n - 1) // 2
    assert len(_random_pairs(n, 2, torch.Generator())) == min(2, len(pairs))


def test_diversity_pairs_stay_within_groups_and_groups_weigh_the_same():
    levels = torch.tensor([0.0, 0.2, 0.4, 0.0, 1.0, 0.7])
    images = levels.reshape(6, 1, 1, 1).expand(6, 3, 8, 8)
    groups = torch.tensor([0, 0, 0, 3, 3, 4])
    result = pair_diversity(images, _distance, groups=groups)
    assert result.pairs == {0: 3, 3: 1, 4: 0}
    assert result.per_group[0] == pytest.approx(2 * (0.2 + 0.2 + 0.4) / 3)
    assert result.per_group[3] == pytest.approx(2.0)
    assert math.isnan(result.per_group[4])
    assert result.mean == pytest.approx((result.per_group[0] + 2.0) / 2)


def test_diversity_is_seeded_and_undefined_for_one_image():
    images = _images(12, 8)
    first, again, other = (pair_diversity(images, _distance, pairs=5, seed=s).mean for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert math.isnan(pair_diversity(images[:1], _distance).mean)


def test_ms_ssim_diversity_of_copies_is_one():
    assert pair_diversity(
        _images(1).expand(3, -1, -1, -1), lambda a, b: field_of_view_ms_ssim(a, b, win_size=5)
    ).mean == pytest.approx(1)


@pytest.mark.parametrize(
    ("preds", "message"),
    [
        (torch.full((1, 3, 8, 8), 1.5), r"preds has values in \[1.5, 1.5\]"),
        (torch.full((1, 3, 8, 8), float("nan")), "preds has values in"),
        (torch.zeros(3, 8, 8), "preds is torch.float32 of shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "preds is torch.uint8"),
        (torch.zeros(2, 3, 8, 8), "pass images in pairs"),
    ],
)
def test_bad_images_are_named(preds, message):
    with pytest.raises(ImageValueError, match=message):
        _distance(preds, torch.zeros(1, 3, 8, 8))


def test_diversity_as_json():
    values = pair_diversity(_images(1, 8), _distance).as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == {
        "mean": None,
        "per_group": {"0": None},
        "pairs": {"0": 0},
    }


def test_bad_groups_are_named():
    with pytest.raises(ValueError, match="2 images, 3 groups"):
        pair_diversity(_images(2, 8), _absolute, groups=torch.zeros(3))
