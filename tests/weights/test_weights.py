"""Finding, verifying and loading weights, with hostile and broken files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from monai_retina_gen.errors import BundleNotFoundError, WeightsError
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.weights import (
    CHECKPOINT,
    find_bundle,
    latest_checkpoint,
    load_state,
    load_weights,
    save_state,
    sha256_file,
    state_sha256,
)


def test_bundle_is_found_by_path_environment_and_folder(
    vae_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert find_bundle(vae_bundle) == vae_bundle.resolve()
    monkeypatch.setenv("MRG_BUNDLES", f"{tmp_path}:{vae_bundle.parent}")
    assert find_bundle("tiny_vae") == vae_bundle.resolve()
    monkeypatch.delenv("MRG_BUNDLES")
    (tmp_path / "bundles").symlink_to(vae_bundle.parent)
    monkeypatch.chdir(tmp_path)
    assert find_bundle("tiny_vae") == vae_bundle.resolve()


def test_absent_bundle_lists_where_it_looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(tmp_path / "mine"))
    monkeypatch.setenv("MRG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BundleNotFoundError, match="MRG_BUNDLES") as error:
        find_bundle("retina_nothing")
    for place in ("mine", "cache", "bundles"):
        assert str(Path(place) / "retina_nothing") in str(error.value)


def test_half_precision_round_trip(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    save_state(network.state_dict(), tmp_path / "w.pt", half=True)
    assert load_state(tmp_path / "w.pt")["weight"].dtype == torch.float16
    loaded = load_weights(torch.nn.Linear(3, 2), tmp_path / "w.pt")
    torch.testing.assert_close(loaded.weight, network.weight, atol=1e-3, rtol=1e-3)
    assert list(tmp_path.iterdir()) == [tmp_path / "w.pt"]


def test_changed_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    save_state(torch.nn.Linear(3, 2).state_dict(), path)
    pinned = sha256_file(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(WeightsError, match="is pinned"):
        load_state(path, sha256=pinned)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="weights_only"):
        load_state(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="weights_only"):
        load_state(path)
    with pytest.raises(WeightsError, match="no weights at"):
        load_state(tmp_path / "absent.pt")


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    for name, write in {"torch.pt": torch.save, "plain.pt": lambda o, p: p.write_bytes(pickle.dumps(o))}.items():
        write({"weight": Evil()}, tmp_path / name)
        with pytest.raises(WeightsError, match="weights_only"):
            load_state(tmp_path / name)
    assert not (tmp_path / "owned").exists()


def test_wrong_contents_are_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="not a bare state dict"):
        load_state(tmp_path / "list.pt")
    torch.save({"weight": torch.tensor([float("nan")])}, tmp_path / "nan.pt")
    with pytest.raises(WeightsError, match="NaN"):
        load_state(tmp_path / "nan.pt")
    save_state(torch.nn.Linear(3, 2).state_dict(), tmp_path / "small.pt")
    with pytest.raises(WeightsError, match="does not fit FundusVAE"):
        load_weights(FundusVAE(image_size=64, channels=(8, 8, 8, 8)), tmp_path / "small.pt")


def test_latest_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothing to resume"):
        latest_checkpoint(tmp_path)
    torch.save({}, tmp_path / "state_epoch=1.pt")
    assert latest_checkpoint(tmp_path).endswith("state_epoch=1.pt")


def test_checkpoint_constant_matches_bundles(bundles_dir: Path) -> None:
    assert (bundles_dir / "retina_vae" / CHECKPOINT).parent.is_dir()


def test_bundles_beside_the_one_that_we_are_in_are_found(
    bundles_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MRG_BUNDLES", raising=False)
    monkeypatch.setenv("MRG_CACHE", str(tmp_path))
    monkeypatch.chdir(bundles_dir / "retina_vae")
    assert find_bundle("retina_grader") == bundles_dir / "retina_grader"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleNotFoundError):
        find_bundle("retina_grader")


def test_hash_of_a_state_is_that_of_what_half_precision_loads_as() -> None:
    state = {"a": torch.tensor([0.5, 0.25])}
    assert state_sha256(state) == state_sha256({"a": state["a"].half()})
    assert state_sha256(state) != state_sha256({"a": state["a"] * 2}) != state_sha256({"b": state["a"] * 2})
