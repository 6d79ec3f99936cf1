"""Handles: what they share is known by content, and a fork finds none of their locks held."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.generators import GeneratorHandle
from monai_retina_gen.weights import load_state, save_state, sha256_file

WEIGHTS = Path("models", "model.pt")


def pin_other_weights(bundle: Path) -> str:
    """Write other weights into a bundle, and pin them; their sha256."""
    state = load_state(bundle / WEIGHTS)
    save_state({name: value + torch.rand(1).to(value) for name, value in state.items()}, bundle / WEIGHTS)
    sha256 = sha256_file(bundle / WEIGHTS)
    pins = {"version": "0.0.2", "weights": {WEIGHTS.as_posix(): {"sha256": sha256}}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(pins))
    return sha256


def test_weights_that_are_pinned_anew_are_loaded(vae_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(vae_bundle, tmp_path / "tiny"))
    first = GeneratorHandle(bundle).get()
    assert GeneratorHandle(bundle).get() is first
    sha256 = pin_other_weights(bundle)
    again = GeneratorHandle(bundle).get()
    assert (again.weights_sha256, again.version) == (sha256, "0.0.2")
    assert first.weights_sha256 != sha256


def test_a_name_means_the_bundle_of_the_folder_one_is_in(
    vae_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for site in ("here", "there"):
        bundle = Path(shutil.copytree(vae_bundle, tmp_path / site / "bundles" / "of_the_site"))
        expected = pin_other_weights(bundle)
        monkeypatch.chdir(tmp_path / site)
        found.append(GeneratorHandle("of_the_site").get().weights_sha256)
        assert found[-1] == expected
    assert found[0] != found[1]


def test_a_child_that_is_forked_during_a_call_can_call(vae_bundle: Path, in_fork: Any) -> None:
    handle, taken, done = GeneratorHandle(vae_bundle), threading.Event(), threading.Event()

    def hold() -> None:
        with handle._lock:
            taken.set()
            done.wait()

    def sampled_grade() -> int:
        with handle.lent("sample") as generator:
            return generator.sample([3], seeds=[1]).records[0].grade

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        assert in_fork(sampled_grade) == 3
    finally:
        done.set()
        thread.join()


class Movable:
    device: Any = torch.device("meta")


def test_an_object_that_has_moved_travels() -> None:
    generator = Movable()
    with pytest.raises(ValueError, match="'cuda' came with a generator that is on 'meta'"):
        GeneratorHandle(generator, device="cuda")  # type: ignore[arg-type]
    handle = GeneratorHandle(generator, device="meta")  # type: ignore[arg-type]
    generator.device = torch.device("cpu")
    assert pickle.loads(pickle.dumps(handle)).get().device == torch.device("cpu")
