"""Every bundle trains in bfloat16, validates, is evaluated and makes images on CUDA, with tiny networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_bundles
import torch

from monai_retina_gen.weights import latest_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the tiny bundles lie; they find one another there, the grader and the segmenter first."""
    made = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRG_BUNDLES", str(made))
        yield made


@pytest.mark.parametrize("name", [*tiny_bundles.GRADER, tiny_bundles.PAINTER, *tiny_bundles.GENERATORS])
def test_trains_evaluates_and_infers(name: str, folder: Path, phantom_folder: Path) -> None:
    bundle = tiny_bundles.copy_bundle(name, folder)
    torch.cuda.reset_peak_memory_stats()
    tiny_bundles.train(bundle, phantom_folder, "cuda:0", amp=True)
    assert torch.cuda.max_memory_allocated() > 2**20
    state = torch.load(latest_checkpoint(bundle / "output"), weights_only=True, map_location="cpu")
    assert state["trainer"]["iteration"] == 2 * 3  # 24 training phantoms in batches of 8
    tiny_bundles.evaluate(bundle, phantom_folder, "cuda:0")
    tiny_bundles.infer(bundle, phantom_folder, "cuda:0")
