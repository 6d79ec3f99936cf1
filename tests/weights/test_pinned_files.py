"""Tensors beside the weights of a bundle are read only as they were written, and only with their weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.state_files import load_pinned, save_pinned

FILE, OF = "models/extra.pt", "a" * 64


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    metadata = {"version": "0.1", "weights": {"models/model.pt": {"sha256": OF}}}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return tmp_path


def test_written_pinned_and_read(bundle: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no models/extra\.pt: make it with `monai-retina-gen model extra`"):
        load_pinned(bundle, FILE, of=OF, command="model extra")
    path = save_pinned({"mean": torch.arange(3.0)}, bundle, FILE, of=OF, samples=7)
    pins = json.loads((bundle / "configs" / "metadata.json").read_text())["weights"]
    assert set(pins) == {"models/model.pt", FILE}
    assert (pins[FILE]["bytes"], pins[FILE]["samples"]) == (path.stat().st_size, 7)
    assert torch.equal(load_pinned(bundle, FILE, of=OF, command="")["mean"], torch.arange(3.0))


def test_other_weights_and_other_bytes(bundle: Path) -> None:
    path = save_pinned({"mean": torch.zeros(2)}, bundle, FILE, of=OF)
    with pytest.raises(WeightsError, match="belongs to the weights aaaaaaaaaaaa, not to bbbbbbbbbbbb"):
        load_pinned(bundle, FILE, of="b" * 64, command="model extra")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="is pinned"):
        load_pinned(bundle, FILE, of=OF, command="model extra")
