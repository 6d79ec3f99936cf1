"""Weights in several files: joined they are what was saved, none too large, each pinned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights import load_parts, load_state, save_parts, save_state, sha256_file


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=12), most=st.integers(40, 400), half=st.booleans())
def test_parts_are_the_whole(
    lengths: list[int], most: int, half: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    state = {f"w{i}": torch.randn(n).half().float() for i, n in enumerate(lengths)} | {"count": torch.tensor(3)}
    paths = save_parts(state, folder / "net.pt", half=half, most=most)
    found = load_parts(paths, sha256=[sha256_file(path) for path in paths])
    assert list(found) == list(state)
    assert all(torch.equal(found[name].to(value.dtype), value) for name, value in state.items())
    assert [path.name for path in paths] == (
        ["net.pt"] if len(paths) == 1 else [f"net_{i + 1}.pt" for i in range(len(paths))]
    )
    for path in paths:
        part = load_state(path)
        assert len(part) == 1 or sum(x.numel() * x.element_size() for x in part.values()) <= most


def test_a_wrong_part_and_a_part_twice(tmp_path: Path) -> None:
    save_state({"a": torch.zeros(2)}, tmp_path / "a.pt")
    save_state({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"b\.pt holds a, and so does"):
        load_parts([tmp_path / "a.pt", tmp_path / "b.pt"])
    with pytest.raises(WeightsError, match="is pinned"):
        load_parts([tmp_path / "a.pt"], sha256=["0" * 64])
