"""Inverted photographs are known by their content, kept up to a limit, and read from a folder where it is whole."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monai_retina_gen.editing import Inversion, InvertedPhotograph, PhotographCache, photograph_keys


class Counting:
    """Makes entries for a cache, and counts what it is asked for."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor, grades: Tensor) -> list[InvertedPhotograph]:
        self.seen += len(images)
        return InvertedPhotograph.rows(Inversion(images.flatten(1)[:, :5], images, grades.float()))


def folder_cache(folder: Path, **identity: str) -> PhotographCache[InvertedPhotograph]:
    return PhotographCache(0, folder=folder, kind=InvertedPhotograph, identity=identity)


def test_cache_computes_each_photograph_once(tmp_path: Path) -> None:
    images, grades = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    counting = Counting()
    cache = folder_cache(tmp_path, weights="a")
    first = cache.entries(images[[0, 1, 1]], grades[[0, 1, 1]], counting)
    assert counting.seen == 2  # the same photograph twice
    second = folder_cache(tmp_path, weights="a").entries(images, grades, counting)
    assert counting.seen == 4
    for one, again in zip(first, second[:2], strict=False):
        for name in ("styles", "image", "distance"):
            torch.testing.assert_close(getattr(again, name), getattr(one, name), rtol=0, atol=0)
    for changed in (images + 0.001, images):
        other = "a" if changed is not images else "b"  # another picture, other weights
        before = counting.seen
        folder_cache(tmp_path, weights=other).entries(changed, grades, counting)
        assert counting.seen == before + 4
    cache.entries(images, grades.flip(0), counting)  # another grade
    assert counting.seen == 16


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "pickle"])
def test_damaged_entry_is_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    image, grade, counting = torch.rand(1, 3, 8, 8), torch.tensor([1]), Counting()
    cache = folder_cache(tmp_path)
    whole = cache.entries(image, grade, counting)[0]
    key = photograph_keys(image, grade)[0]
    path = tmp_path / f"{key}.npz"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flip":
        arrays = dict(np.load(path))
        np.savez(path, **(arrays | {"styles": arrays["styles"] + 1}))
    else:  # an object that would run code when it is unpickled
        arrays = dict(np.load(path))
        np.savez(path, **(arrays | {"styles": np.array([{}], dtype=object)}), allow_pickle=True)
    with caplog.at_level(logging.WARNING):
        again = cache.entries(image, grade, counting)[0]
    assert counting.seen == 2
    assert "damaged" in caplog.text
    assert torch.equal(again.styles, whole.styles)
    assert cache.get(key) is not None  # mended
    assert not list(tmp_path.glob("*.part"))


# --- keys -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 3 * 8 * 8 - 1), st.integers(0, 3 * 8 * 8 - 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_another_pixel_another_place_another_key(first: int, second: int, value: float) -> None:
    images = torch.full((3, 3, 8, 8), 0.125)
    images[1].view(-1)[first] = value
    images[2].view(-1)[second] = value
    keys = photograph_keys(images, [2, 2, 2])
    assert (keys[1] == keys[2]) == (first == second)
    assert keys[0] not in keys[1:]


def test_keys_do_not_depend_on_the_batch_and_tell_grade_shape_and_settings_apart() -> None:
    images, grades = torch.rand(9, 3, 6, 8, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 5
    together = photograph_keys(images, grades)
    assert together == [photograph_keys(x[None], [int(g)])[0] for x, g in zip(images, grades, strict=True)]
    others = [photograph_keys(images[:1], [1]), photograph_keys(images[:1].view(1, 3, 8, 6), [0])]
    others += [photograph_keys(images[:1], [0], {"steps": 5}), photograph_keys(images[:1].flip(-1), [0])]
    assert len({*together, *(key for each in others for key in each)}) == 13
    assert photograph_keys(images[:0], []) == []


# --- memory -----------------------------------------------------------------------------------------------------------


def entry(value: float) -> InvertedPhotograph:
    return InvertedPhotograph(torch.full((4,), value), torch.zeros(3, 8, 8), value)


def test_photographs_used_last_stay_within_the_limit() -> None:
    size = entry(0).styles.nbytes + entry(0).image.nbytes
    cache = PhotographCache[InvertedPhotograph](megabytes=2.5 * size / 2**20)
    cache.put("a", entry(1))
    cache.put("b", entry(2))
    assert cache.get("a") is not None  # used after b
    cache.put("c", entry(3))
    assert [cache.get(key) is None for key in "abc"] == [False, True, False]
    again = pickle.loads(pickle.dumps(cache))
    assert again.limit == cache.limit
    assert again.get("a") is None  # stays in its process


def test_a_folder_keeps_what_memory_does_not(tmp_path: Path) -> None:
    cache, kept = folder_cache(tmp_path), entry(0.3)
    kept.mirrored, kept.detail = True, torch.rand(2, 4, 4)
    cache.put("a", kept)
    found = pickle.loads(pickle.dumps(cache)).get("a")
    assert found is not None
    assert torch.equal(found.styles, kept.styles)
    assert (found.distance, found.mirrored) == (pytest.approx(0.3), True)
    assert torch.equal(found.detail, kept.detail)
    np.savez(tmp_path / "b.npz", **{k: v for k, v in np.load(tmp_path / "a.npz").items() if k != "image"})
    assert cache.get("b") is None  # something is missing in it
