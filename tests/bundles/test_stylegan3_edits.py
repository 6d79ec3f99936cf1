"""The shipped StyleGAN3 edits eyes: lesions grow and shrink as asked, vessels and disc stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import read_record
from monai_retina_gen.editing.gate_measures import vessel_loss
from monai_retina_gen.generators import StyleGAN3Generator, load_generator
from monai_retina_gen.transforms import GenerativeAugmentd

COUNT, SIDE = 3, 96


@pytest.fixture(scope="module")
def generator(bundles_dir: Path) -> StyleGAN3Generator:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRG_BUNDLES", str(bundles_dir))
        made = load_generator("retina_stylegan3")
        assert isinstance(made, StyleGAN3Generator)
        made.editor.masks(torch.rand(1, 3, 64, 64))  # what is loaded at first use
        made.reconstruct(made.sample([2], seeds=[1]).image, [2])
        yield made


@pytest.fixture(scope="module")
def eyes(generator: StyleGAN3Generator) -> Tensor:
    """Samples of grade 3, two of them right eyes, at another size than the network's."""
    images = generator.sample([3] * COUNT, seeds=[1001, 1002, 1003]).image
    return interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1)


@pytest.mark.parametrize("lesion", ["ex", "he"])
def test_lesions_grow_and_shrink(generator: StyleGAN3Generator, eyes: Tensor, lesion: str) -> None:
    found = {
        s: generator.edit(eyes, [3] * COUNT, lesion=lesion, strength=s, with_masks=True) for s in (-1.0, -0.5, 0.5, 1.0)
    }
    for strength, batch in found.items():  # an eye without the lesion has none to lose
        reasons = [str(record.options["refused"]) for record in batch.records if "refused" in record.options]
        assert len(reasons) <= (0 if strength > 0 else 1)
        assert all("no such lesion" in reason for reason in reasons)
    before = generator.editor.masks(eyes)
    soft = {s: generator.editor.masks(batch.image) for s, batch in found.items()}
    areas = torch.stack([soft[-1.0][lesion], before[lesion], soft[1.0][lesion]]).sum((2, 3, 4))
    assert (areas[2] > areas[1]).all()
    assert (areas[1] >= areas[0]).all()
    assert float(areas[2].sum()) > 1.4 * float(areas[1].sum()) > 1.7 * float(areas[0].sum())
    for batch in found.values():
        kept = (batch.image == eyes).all(1)
        assert float(kept.float().mean()) > 0.5  # bit for bit
        assert float(vessel_loss(before["vessel"] >= 0.5, batch.masks["vessel"] >= 0.5).mean()) < 0.1
    small, large = ((found[s].image - eyes).abs().mean() for s in (0.5, 1.0))
    assert float(large) > 1.2 * float(small)


def test_grade_0_is_not_edited(generator: StyleGAN3Generator, eyes: Tensor) -> None:
    batch = generator.edit(eyes, [0] * COUNT, lesion="ex", strength=1.0)
    assert torch.equal(batch.image, eyes)
    assert all("grade 0 excludes ex" in str(record.options["refused"]) for record in batch.records)


def test_a_lesion_that_the_segmenter_does_not_know(
    bundles_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MRG_BUNDLES", str(bundles_dir))
    assert main(["model", "directions", "--generator", "retina_stylegan3", "--lesions", "ex", "ma"]) == 2
    assert (
        "lesions ma: the segmenter retina_stylegan3:segmenter knows he, ex, se, od, vessel" in capsys.readouterr().err
    )


def test_in_a_pipeline(generator: StyleGAN3Generator, eyes: Tensor) -> None:
    augment = GenerativeAugmentd(
        keys="image", generator=generator, mode="edit", lesion=("ex", "he"), prob=1.0, image_order="CHW"
    )
    augment.set_random_state(0)
    made = augment({"image": eyes[0], "grade": 3})
    assert made["image"].shape == eyes[0].shape
    record = read_record(made["image"])
    assert record is not None
    assert record.options["lesion"] in ("ex", "he")
    assert not torch.equal(torch.as_tensor(made["image"]), eyes[0])
