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

from monai_retina_gen.editing import CachedInverter, Inversion, photograph_keys
from monai_retina_gen.editing.style.inversion_cache import InversionCache, InvertedPhotograph


class Counting:
    """An inverter that counts what it is asked for."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        self.seen += len(images)
        return Inversion(images.flatten(1)[:, :5], images, grades.float())


def test_cache_computes_each_photograph_once(tmp_path: Path) -> None:
    images, grades = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    counting = Counting()
    cached = CachedInverter(counting, tmp_path, identity={"weights": "a"})
    first = cached(images[[0, 1, 1]], grades[[0, 1, 1]])
    assert counting.seen == 2  # the same photograph twice
    second = CachedInverter(counting, tmp_path, identity={"weights": "a"})(images, grades)
    assert counting.seen == 4
    for name in ("styles", "image", "distance"):
        assert torch.equal(getattr(second, name)[:2], getattr(first, name)[:2])
    for changed in (images + 0.001, images):
        other = {"weights": "a" if changed is not images else "b"}  # another picture, other weights
        before = counting.seen
        CachedInverter(counting, tmp_path, identity=other)(changed, grades)
        assert counting.seen == before + 4
    cached(images, grades.flip(0))  # another grade
    assert counting.seen == 16


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "pickle"])
def test_damaged_entry_is_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    image, grade, counting = torch.rand(1, 3, 8, 8), torch.tensor([1]), Counting()
    cached = CachedInverter(counting, tmp_path, identity={})
    whole = cached(image, grade)
    key = photograph_keys(image, grade)[0]
    path = cached.cache.path(key)
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
        again = cached(image, grade)
    assert counting.seen == 2
    assert "damaged" in caplog.text
    assert torch.equal(again.styles, whole.styles)
    assert cached.cache.get(key) is not None  # mended
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
    cache = InversionCache(megabytes=2.5 * entry(0).bytes / 2**20)
    cache.put("a", entry(1))
    cache.put("b", entry(2))
    assert cache.get("a") is not None  # used after b
    cache.put("c", entry(3))
    assert [cache.get(key) is None for key in "abc"] == [False, True, False]
    again = pickle.loads(pickle.dumps(cache))
    assert again.limit == cache.limit
    assert again.get("a") is None  # stays in its process


def test_a_folder_keeps_what_memory_does_not(tmp_path: Path) -> None:
    cache, kept = InversionCache(0, folder=tmp_path), entry(0.3)
    kept.mirrored = True
    cache.put("a", kept)
    found = InversionCache(folder=tmp_path).get("a")
    assert found is not None
    assert torch.equal(found.styles, kept.styles)
    assert (found.distance, found.mirrored) == (pytest.approx(0.3), True)
    with pytest.raises(ValueError, match="no folder"):
        InversionCache().path("a")
