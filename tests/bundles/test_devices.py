"""Training, validation, sample grids, evaluation and inference of every bundle keep all tensors on one device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_bundles
from stand_in_device import stand_in_device


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the tiny bundles lie; they find one another there, the grader and the segmenter first."""
    made = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRG_BUNDLES", str(made))
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", [*tiny_bundles.GRADER, tiny_bundles.PAINTER, *tiny_bundles.GENERATORS])
def test_a_bundle_stays_on_its_device(name: str, folder: Path, phantom_folder: Path) -> None:
    bundle = tiny_bundles.copy_bundle(name, folder)
    with stand_in_device() as device:
        tiny_bundles.train(bundle, phantom_folder, str(device), max_epochs=1)
        tiny_bundles.evaluate(bundle, phantom_folder, str(device))
        if name != "retina_lesion_segmentation":  # names its files after metadata, which the stand-in's tensors lack
            tiny_bundles.infer(bundle, phantom_folder, str(device))
