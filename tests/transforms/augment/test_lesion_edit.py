"""Edits in the transforms: the given edit, the random one in all placements, masks, gates and refusals."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import Dataset, MetaTensor, ThreadDataLoader
from monai.transforms import Compose
from torch import Tensor

from monai_retina_gen.data import read_record
from monai_retina_gen.editing import Directions, Inversion
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.transforms import (
    BatchGenerativeAugment,
    GenerativeAugment,
    GenerativeAugmentd,
    LesionEdit,
    LesionEditD,
    LesionEditd,
    LesionEditDict,
)

SIDE = 48


class MeanStyles:
    """Every photograph has the mean's styles; a dark one lies far away."""

    def __init__(self, network: StyleGAN3) -> None:
        self.network, self.calls = network, 0

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        self.calls += len(images)
        ws = self.network.mapping(torch.ones(len(images), 8), torch.full((len(images),), 3))
        styles = self.network.style_space.flatten(self.network.styles(ws))
        image = (self.network.synthesis.run(self.network.style_space.split(styles)) + 1) / 2
        return Inversion(styles, image.clamp(0, 1), 1 - images.amax((1, 2, 3)))


class Masks:
    side = 32

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return {"ex": images[:, :1]}


class Limit:
    def __init__(self, largest: float) -> None:
        self.largest, self.groups = largest, list[Any]()

    def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        self.groups += list(groups)
        change = (images - originals).abs().amax((1, 2, 3))
        return GateVerdict(["" if c <= self.largest else "too much" for c in change], "Limit")


@pytest.fixture
def generator() -> StyleGAN3Generator:
    torch.manual_seed(0)
    network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
    network = network.eval().requires_grad_(False)
    size = network.style_space.size
    vector, one = torch.zeros(size), torch.ones(size)
    vector[network.style_space.index(9, 2)] = 30.0
    nothing: dict[str, Any] = {"channels": torch.tensor([], dtype=torch.long), "effects": {}, "spread": {}}
    directions = Directions({"ex": vector, "ma": vector}, "sigma", one, one, -900 * one, 900 * one, **nothing)
    made = StyleGAN3Generator(network)
    made.equip(inverter=MeanStyles(network), directions=directions, distance_limit=0.5)
    return made


def photograph(seed: int = 0, level: float = 0.7) -> MetaTensor:
    axis = torch.linspace(-1, 1, SIDE)
    inside = ((axis[:, None] ** 2 + axis**2) < 0.9).float()
    texture = 0.2 * torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    image = (torch.tensor([level, level / 2, level / 6]).view(3, 1, 1) + texture * level) * inside
    return MetaTensor(image, meta={"image_order": "CHW", "filename_or_obj": "a/eye.png"})


def test_the_given_edit(generator: StyleGAN3Generator) -> None:
    edit = LesionEdit(generator=generator, lesion="ex", strength=0.5)
    image = photograph()
    edited = edit(image, 3)
    record = read_record(edited)
    assert record is not None
    assert (record.mode, record.source, record.options["strength"]) == ("edit", "a/eye.png", 0.5)
    assert edited.shape == image.shape
    assert not torch.equal(edited.as_tensor(), image.as_tensor())
    assert torch.equal(edit(image, 3).as_tensor(), edited.as_tensor())
    pickled = pickle.loads(pickle.dumps(LesionEdit(generator="retina_drgan", lesion="ex", strength=0.25)))
    assert pickled.plan(2).strength == 0.25
    with pytest.raises(ValueError, match="tries: used together with gate"):
        LesionEdit(generator=generator, tries=4)


def test_a_transposed_image_is_edited_as_the_upright_one(generator: StyleGAN3Generator) -> None:
    upright = photograph()
    turned = upright.as_tensor().transpose(1, 2)
    a = LesionEdit(generator=generator, strength=1.0)(upright, 3)
    b = LesionEdit(generator=generator, strength=1.0, image_order="CWH")(turned, 3)
    torch.testing.assert_close(a.as_tensor(), b.as_tensor().transpose(1, 2))


def test_dictionary_form_changes_the_masks_of_the_edited_lesion_alone(generator: StyleGAN3Generator) -> None:
    """The segmenter calls every bright pixel exudate; the annotations say otherwise, and know more structures."""
    generator.equip(inverter=generator.inverter, directions=generator.directions, masker=Masks())
    image, names = photograph(level=0.45), ("ex", "he", "od", "vessel")
    masks = {name: (torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(i)) > 0.7).float()
             for i, name in enumerate(names)}  # fmt: skip
    masks["od"][..., 5:] = 0  # nothing is edited on the disc
    item = {"image": image, "grade": 3, "group": "eye 1", **masks}
    edited = LesionEditd(keys="image", mask_keys=names, generator=generator, strength=1.0)(item)
    assert all(torch.equal(edited[name], masks[name]) for name in ("he", "od", "vessel"))
    before, after = image.as_tensor(), edited["image"].as_tensor()
    came, went = ((before < 0.5) & (after >= 0.5))[:1], ((before >= 0.5) & (after < 0.5))[:1]
    assert bool(came.any() or went.any())
    assert torch.equal(edited["ex"], ((masks["ex"] > 0) & ~went | came).float())
    assert edited["ex"] is not item["ex"]
    assert LesionEditDict is LesionEditD is LesionEditd


def test_masks_that_nobody_can_find_again_are_an_error(generator: StyleGAN3Generator) -> None:
    item = {"image": photograph(), "grade": 3, "ex": torch.zeros(1, SIDE, SIDE)}
    with pytest.raises(ImageValueError, match="no longer fit the edited images"):
        LesionEditd(keys="image", mask_keys=("ex",), generator=generator)(item)


@pytest.mark.parametrize(("grade", "level", "reason"), [(0, 0.7, "excludes ex"), (3, 0.3, "does not know this eye")])
def test_refused_photographs_stay_with_the_reason(
    generator: StyleGAN3Generator, grade: int, level: float, reason: str
) -> None:
    image = photograph(level=level)
    edited = GenerativeAugment(generator=generator, mode="edit", lesion="ex", prob=1.0)(image, grade)
    assert torch.equal(edited.as_tensor(), image.as_tensor())
    assert edited.meta["generated"] == ""
    assert reason in edited.meta["generation_refused"]


def test_the_gate_is_in_the_loop_and_gets_the_group(generator: StyleGAN3Generator) -> None:
    whole = LesionEdit(generator=generator, strength=1.0)(photograph(), 4) - photograph()
    gate = Limit(0.3 * float(whole.abs().max()))
    augment = GenerativeAugmentd(
        keys="image", generator=generator, mode="edit", lesion="ex", strength=(1, 1), prob=1.0, gate=gate, max_retries=6
    )
    item = augment({"image": photograph(), "grade": 4, "group": "eye 1"})
    record = read_record(item["image"])
    assert record is not None
    assert record.label == "verified by Limit"
    assert 0 < record.options["strength"] < 1
    assert set(gate.groups) == {"eye 1"}
    assert len(gate.groups) == 7
    assert generator.inverter.calls == 1  # type: ignore[union-attr]  # all tries start from one inversion


def test_batch_form_edits_the_drawn_rows_only(generator: StyleGAN3Generator) -> None:
    augment = BatchGenerativeAugment(
        generator=generator, mode="edit", lesion=("ex",), prob={3: 1.0}, image_order="CHW", strength=(0.5, 1)
    )
    augment.set_random_state(0)
    images = torch.stack([photograph(i).as_tensor() for i in range(4)])
    batch = augment({"image": images, "grade": torch.tensor([0, 3, 2, 3])})
    changed = [not torch.equal(a, b) for a, b in zip(batch["image"], images, strict=True)]
    assert changed == [False, True, False, True] == [bool(record) for record in batch["image_generated"]]


def test_in_a_loader_with_its_copies(generator: StyleGAN3Generator) -> None:
    augment = GenerativeAugmentd(keys="image", generator=generator, mode="edit", lesion=("ex", "ma"), prob=1.0)
    assert copy.deepcopy(augment).augment.source.maker.handle is augment.augment.source.maker.handle
    items = [{"image": photograph(i), "grade": 3} for i in range(4)]
    data = Dataset(items, Compose([augment]).set_random_state(1))
    batch = next(iter(ThreadDataLoader(data, batch_size=4, num_workers=0)))
    assert batch["image"].shape == (4, 3, SIDE, SIDE)
    lesions = {read_record(text).options["lesion"] for text in batch["image_generated"]}  # type: ignore[union-attr]
    assert lesions <= {"ex", "ma"}


def test_draws_follow_the_seed(generator: StyleGAN3Generator) -> None:
    made = []
    for _ in range(2):
        augment = GenerativeAugment(generator=generator, mode="edit", lesion="ex", prob=1.0)
        augment.set_random_state(5)
        made.append(augment(photograph(), 3).as_tensor())
    assert torch.equal(*made)
    assert np.isfinite(made[0].numpy()).all()


def test_in_the_background(generator: StyleGAN3Generator) -> None:
    augment = GenerativeAugment(
        generator=generator, mode="edit", lesion="ex", strength=(0.5, 1), prob=1.0, background=1.0
    )
    image = photograph()
    first = augment(image, 3)
    assert torch.equal(first.as_tensor(), image.as_tensor())
    assert "background" in first.meta["generation_refused"]
    background = augment.source.background
    assert background is not None
    background.finish()
    second = augment(image, 3)
    record = read_record(second)
    assert record is not None
    at_once = LesionEdit(generator=generator, strength=record.options["strength"])(image, 3)
    torch.testing.assert_close(second.as_tensor(), at_once.as_tensor())
    assert pickle.loads(pickle.dumps(background.__getstate__()["share"])) == 1.0
    background.finish()
    assert len(background._kept[next(iter(background._kept))]) == 2


def test_an_error_in_the_background_is_not_lost(generator: StyleGAN3Generator) -> None:
    augment = GenerativeAugment(generator=generator, mode="edit", lesion="ex", prob=1.0, background=1.0)
    black = torch.zeros_like(photograph())
    augment(black, 3)
    assert augment.source.background is not None
    augment.source.background.finish()
    with pytest.raises(RuntimeError, match="no retina"):
        augment(black, 3)
    with pytest.raises(ValueError, match="share of the time"):
        GenerativeAugment(generator=generator, mode="edit", lesion="ex", background=0.0)


def test_a_generator_that_cannot_edit(generator: StyleGAN3Generator) -> None:
    plain = StyleGAN3Generator(generator.network)
    with pytest.raises(UnsupportedModeError, match="no mode 'edit'"):
        LesionEdit(generator=plain)(photograph(), 3)


# --- the way of an edit -----------------------------------------------------------------------------------------------


class Half:
    """Accepts edits of at most half of the strength that is tried first."""

    def __init__(self) -> None:
        self.asked = 0

    def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        self.asked += 1
        return GateVerdict(["too much" if self.asked == 1 else ""] * len(images), "Half")


@pytest.mark.parametrize("form", ["array", "dictionary", "batch", "given"])
def test_an_edit_passes_at_most_nine_frames_from_the_transform_to_the_network(
    generator: StyleGAN3Generator, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who follows an edit with a debugger reads these, and no more."""
    image = photograph().as_tensor()
    options: dict[str, Any] = {"generator": generator, "image_order": "CHW", "gate": Half()}
    augment: dict[str, Any] = {**options, "mode": "edit", "lesion": "ex", "prob": 1.0, "max_retries": 2}
    forms: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "array": (GenerativeAugment(**augment), (image, 3)),
        "dictionary": (GenerativeAugmentd("image", **augment), ({"image": image, "grade": 3},)),
        "batch": (BatchGenerativeAugment(**augment), ({"image": image[None], "grade": [3]},)),
        "given": (LesionEdit(lesion="ex", **options), (image, 3)),
    }
    transform, arguments = forms[form]
    first, depths = type(transform).__call__.__code__, []
    whole = generator.network.synthesis.run

    def watched(styles: Any, **settings: Any) -> Any:
        frame, depth = sys._getframe(1), 1
        while frame.f_code is not first:
            frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
        if settings.get("start_layer"):  # an edit; the others are the inversion's
            depths.append(depth)
        return whole(styles, **settings)

    monkeypatch.setattr(generator.network.synthesis, "run", watched)
    transform(*arguments)
    assert len(depths) >= 2, "the gate asks for a second try"
    assert max(depths) <= 9, depths
