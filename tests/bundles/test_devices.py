"""Training, validation, sample grids, evaluation and inference of every bundle keep all tensors on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_bundles
from painting_parts import phantom
from stand_in_device import stand_in_device

from monai_retina_gen.data import LesionBank, MaskComposer
from monai_retina_gen.generators import DRGANGenerator, LesionPainterGenerator
from monai_retina_gen.generators.lesion_painting import LesionPainting
from monai_retina_gen.networks import DRGAN, LesionPainter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the tiny bundles lie; they find one another there, the grader and the segmenter first."""
    made = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRG_BUNDLES", str(made))
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", [*tiny_bundles.GRADER, *tiny_bundles.GENERATORS, *tiny_bundles.PAINTER])
def test_a_bundle_stays_on_its_device(name: str, folder: Path, phantom_folder: Path) -> None:
    bundle = tiny_bundles.copy_bundle(name, folder)
    with stand_in_device() as device:
        tiny_bundles.train(bundle, phantom_folder, str(device), max_epochs=1)
        tiny_bundles.evaluate(bundle, phantom_folder, str(device))
        if name != "retina_lesion_segmentation":  # names its files after metadata, which the stand-in's tensors lack
            tiny_bundles.infer(bundle, phantom_folder, str(device))


def painter(bank: LesionBank) -> LesionPainterGenerator:
    made = LesionPainterGenerator(LesionPainter(channels=(4, 8)))
    assert made.painter is not None
    made.equip(made.painter, composer=MaskComposer(bank))
    return made


def ratio(bank: LesionBank) -> DRGANGenerator:
    made = DRGANGenerator(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False), image_size=64)
    made.set_lesion_bank(bank)
    return made


@pytest.mark.parametrize("make", [painter, ratio])
def test_painting_stays_on_its_device(make: Callable[[LesionBank], LesionPainting], phantom_bank: LesionBank) -> None:
    image, masks = phantom(3)
    expected = make(phantom_bank).edit(image, [3], seeds=[1], masks=masks)
    with stand_in_device() as device:
        generator = make(phantom_bank)
        generator.to(device)
        for change in generator.changes:
            batch = generator.edit(image, [3], seeds=[1], masks=masks, change=change, lesion="he")
            assert {batch.image.device, batch.masks["he"].device} == {device}
        canvas = generator.synthesize(masks, [3], seeds=[1], canvas=image)
        assert {canvas.image.device, canvas.grade.device, *(m.device for m in canvas.masks.values())} == {device}
    assert expected.image.device.type == "cpu"
