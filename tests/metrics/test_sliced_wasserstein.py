"""Sliced Wasserstein distance against SciPy's filters and distance, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics import laplacian_pyramid, sliced_wasserstein_distance
from monai_retina_gen.metrics import sliced_wasserstein as module
from monai_retina_gen.metrics.sliced_wasserstein import pyramid_sizes

FAST = {"patches_per_image": 16, "directions": 32}


def _images(n: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_pyramid_matches_scipy_filters():
    image = _images(1, 64)[0, 0].double()
    taps = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(taps, taps)
    current, oracle = image.numpy(), []
    for _ in range(2):
        smaller = convolve(current, kernel, mode="mirror")[::2, ::2]
        enlarged = np.zeros_like(current)
        enlarged[::2, ::2] = smaller
        oracle.append(current - convolve(enlarged, 4 * kernel, mode="mirror"))
        current = smaller
    oracle.append(current)
    for level, truth in zip(laplacian_pyramid(image[None, None], 3), oracle, strict=True):
        np.testing.assert_allclose(level[0, 0].numpy(), truth, atol=1e-12)


@pytest.mark.parametrize(("size", "sizes"), [(16, [16]), (128, [128, 64, 32, 16]), (100, [100, 50, 25]), (31, [31])])
def test_levels(size, sizes):
    assert pyramid_sizes(size) == sizes


def test_projections_match_scipy_wasserstein():
    a, b = (torch.randn(200, 147, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    directions = torch.randn(20, 147, generator=torch.Generator().manual_seed(2))
    directions = directions / directions.norm(dim=1, keepdim=True)
    value = module._patch_distance(a.split(60), b.split(70), directions)
    oracle = np.mean([wasserstein_distance((a @ d).numpy(), (b @ d).numpy()) for d in directions])
    assert value == pytest.approx(oracle, rel=1e-5)


def test_values_beyond_the_bins_count_in_full():
    a = torch.randn(300, 147, generator=torch.Generator().manual_seed(0)) * 3
    directions = torch.nn.functional.normalize(torch.randn(7, 147, generator=torch.Generator().manual_seed(1)), dim=1)
    shifts = directions @ torch.full((147,), 30.0)
    value = module._patch_distance([a], [a + 30], directions)
    assert shifts.abs().max() > 16
    assert value == pytest.approx(float(shifts.abs().mean()), rel=1e-5)


@pytest.mark.parametrize("level", [0, 1])
def test_patches_are_normalised_and_the_same_at_each_pass(level):
    generator = torch.Generator().manual_seed(3)
    patches = module._LevelPatches(_images(40).mul(255).to(torch.uint8), level, 8, generator)
    first, again = (torch.cat(list(patches)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (320, 147)
    std, mean = torch.std_mean(first.reshape(320, 3, 49), dim=(0, 2), correction=0)
    torch.testing.assert_close((mean, std), (torch.zeros(3), torch.ones(3)), atol=1e-4, rtol=1e-4)
    left = torch.Generator().manual_seed(3)
    list(patches._chunks(left))
    assert torch.equal(left.get_state(), generator.get_state())


def test_whole_distance_is_that_of_sorted_projections():
    real, generated = _images(20, 16), _images(20, 16, seed=1).square()
    generator = torch.Generator().manual_seed(0)
    sets = [torch.cat(list(module._LevelPatches(x, 0, 64, generator))) for x in (real, generated)]
    normals = torch.nn.functional.normalize(torch.randn(16, 147, generator=generator), dim=1)
    a, b = (np.sort((normals @ x.T).double().numpy(), axis=1) for x in sets)
    value = sliced_wasserstein_distance(real, generated, patches_per_image=64, directions=16)["swd_mean"]
    assert value == pytest.approx(1e3 * np.abs(a - b).mean(), rel=1e-3)


def test_patches_are_windows_of_their_image():
    band = torch.arange(2 * 3 * 20 * 20, dtype=torch.float32).reshape(2, 3, 20, 20)
    patches = module._random_patches(band, 5, torch.Generator().manual_seed(0)).reshape(2, 5, 3, 7, 7)
    for image in range(2):
        for patch in patches[image]:
            y, x = divmod(int(patch[0, 0, 0]) - image * 1200, 20)
            assert torch.equal(patch, band[image, :, y : y + 7, x : x + 7])


def test_chunks_and_dtype_do_not_matter(monkeypatch):
    real, generated = _images(6), _images(6, seed=1)
    whole = sliced_wasserstein_distance(real, generated, **FAST)
    as_bytes = [x.mul(255).round().to(torch.uint8) for x in (real, generated)]
    assert sliced_wasserstein_distance(*as_bytes, **FAST) == whole
    monkeypatch.setattr(module, "DIRECTIONS_AT_A_TIME", 5)
    rechunked = sliced_wasserstein_distance(real, generated, **FAST)
    assert rechunked == pytest.approx(whole, rel=1e-6)


def test_blurred_images_are_farther_than_the_floor():
    real, options = _images(48), {"patches_per_image": 128, "directions": 32}
    blurred = torch.nn.functional.avg_pool2d(real, 5, stride=1, padding=2)
    floor = sliced_wasserstein_distance(real, _images(48, seed=1), **options)
    far = sliced_wasserstein_distance(real, blurred, **options)
    assert far["swd_mean"] > 3 * floor["swd_mean"]
    assert far["swd_mean"] == pytest.approx((far["swd_32"] + far["swd_16"]) / 2)


def test_constant_images_are_at_distance_zero():
    values = sliced_wasserstein_distance(torch.full((3, 3, 32, 32), 0.2), torch.full((3, 3, 32, 32), 0.7), **FAST)
    assert values["swd_mean"] == pytest.approx(0, abs=1)


def test_seed_alone_decides():
    sets = _images(4), _images(4, seed=1)
    first, again, other = (sliced_wasserstein_distance(*sets, seed=s, **FAST) for s in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (torch.rand(2, 3, 32, 32), torch.rand(3, 3, 32, 32), "equal numbers"),
        (torch.rand(2, 3, 32, 30), torch.rand(2, 3, 32, 30), "pass square images"),
        (torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), "images of 8 pixels"),
        (torch.rand(2, 3, 32, 32) * 255, torch.rand(2, 3, 32, 32), "real has values"),
    ],
)
def test_bad_images_are_named(real, generated, message):
    with pytest.raises(ImageValueError, match=message):
        sliced_wasserstein_distance(real, generated)
