"""GenerativeAugment from masks, the item's own or composed: image and masks together in all forms; ComposeMasks."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose

from monai_retina_gen.data import LESION_MASKS, LesionBank, MaskComposer, PhantomDataset, load_datalist, read_record
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.errors import DatalistError, ImageValueError, UnsupportedModeError
from monai_retina_gen.generators import DRGANGenerator, GeneratedBatch, RetinaGenerator
from monai_retina_gen.networks import DRGAN
from monai_retina_gen.transforms import (
    BatchGenerativeAugment,
    ComposeMasks,
    ComposeMasksD,
    ComposeMasksd,
    ComposeMasksDict,
    GenerativeAugment,
    GenerativeAugmentd,
    LoadFundusd,
    StackMasksd,
)
from monai_retina_gen.transforms.expansion.folder import expand

ANATOMY = ("vessel", "od", "fov")
LESIONS = ("ma", "he", "ex", "se")


class Painter(RetinaGenerator):
    """Red is the vessel map, green the haemorrhages, blue the seed: what was asked for can be read off the image."""

    modes = frozenset({"synthesize", "reconstruct"})

    def __init__(self, image_size: int = 64) -> None:
        super().__init__(torch.nn.Identity())
        self.image_size, self.calls = image_size, 0

    def synthesize(self, masks: Any, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        self.calls += 1
        grade, first = self.check_grades(grades), next(iter(masks.values()))
        assert first.shape[-1] == self.image_size
        none = torch.zeros_like(first)
        blue = torch.stack([torch.full_like(first[0], (seed % 255) / 255) for seed in seeds])
        image = torch.cat([masks.get("vessel", none), masks.get("he", none), blue], 1)
        records = [
            self.record("synthesize", g, s, options={"masks": sorted(masks), **options})
            for g, s in zip(grade.tolist(), seeds, strict=True)
        ]
        return GeneratedBatch(image, grade, records, dict(masks))

    def reconstruct(self, images: Any, grades: Any, **options: Any) -> GeneratedBatch:
        grade = self.check_grades(grades)
        return GeneratedBatch(images * 0.5, grade, [self.record("reconstruct", g, 0) for g in grade.tolist()])


@pytest.fixture(scope="module")
def composer(phantom_bank: LesionBank) -> MaskComposer:
    return MaskComposer(phantom_bank)


def item(grade: int = 3, size: int = 64, index: int = 0) -> dict[str, Any]:
    drawn = PhantomDataset(length=20, size=size, seed=9, grades=[grade], masks=True)[index]
    return {key: value for key, value in drawn.items() if key not in ("laser", "membrane")}


def augment(**options: Any) -> GenerativeAugmentd:
    settings = {"generator": Painter(), "mode": "synthesize", "prob": 1.0, "image_order": "CHW"}
    return GenerativeAugmentd(keys="image", mask_keys=(*ANATOMY, *LESIONS), **{**settings, **options})


def shows(made: dict[str, Any]) -> None:
    """The image shows the masks that lie beside it."""
    image = torch.as_tensor(made["image"])
    torch.testing.assert_close(image[0], torch.as_tensor(made["vessel"])[0])
    torch.testing.assert_close(image[1], torch.as_tensor(made["he"])[0])


# --- dictionary form ------------------------------------------------------------------------------------------------


def test_own_masks_are_kept_and_shown() -> None:
    real = item()
    made = augment()(real)
    shows(made)
    assert all(torch.equal(made[key], real[key]) for key in (*ANATOMY, *LESIONS))
    assert not torch.equal(made["image"], real["image"])
    record = read_record(made["image_generated"])
    assert record is not None
    assert record.mode == "synthesize"
    assert record.options["masks"] == sorted((*ANATOMY, *LESIONS))


def test_composed_lesions_replace_the_items_and_follow_its_grade(composer: MaskComposer) -> None:
    real = item(grade=1)
    made = augment(lesion_bank=composer)(real)
    shows(made)
    assert torch.equal(made["vessel"], real["vessel"])
    assert not torch.equal(made["ma"], real["ma"])
    assert not made["ex"].any()  # grade 1 has microaneurysms only
    again = augment(lesion_bank=composer).set_random_state(3)(item(grade=3))
    shows(again)
    assert again["he"].any()
    record = read_record(again["image_generated"])
    assert record is not None
    assert record.options["composed_from"].startswith("phantom")
    # from the record's seed the masks are made again
    masks = composer.compose({k: item(grade=3)[k] for k in ("fov", "od")}, 3, seed=record.seed).masks
    assert torch.equal(masks["he"], torch.as_tensor(again["he"]))


def test_lesions_that_an_item_lacks_are_added(composer: MaskComposer) -> None:
    real = {key: value for key, value in item().items() if key not in LESIONS}
    made = augment(lesion_bank=composer, allow_missing_keys=True)(real)
    assert set(LESIONS) <= set(made)
    shows(made)
    left = augment(lesion_bank=composer, allow_missing_keys=True, prob=0.0)(real)
    assert not set(LESIONS) & set(left)  # a real image is never given made-up lesions


def test_metadata_dtype_and_order(composer: MaskComposer) -> None:
    real = {
        key: MetaTensor(value.transpose(1, 2).half(), meta={"filename_or_obj": f"{key}.png", "image_order": "CWH"})
        if isinstance(value, torch.Tensor)
        else value
        for key, value in item().items()
    }
    turned = augment(lesion_bank=composer, image_order=None).set_random_state(0)(real)
    upright = augment(lesion_bank=composer).set_random_state(0)(item())
    assert turned["he"].meta["filename_or_obj"] == "he.png"
    assert turned["he"].dtype == turned["image"].dtype == torch.float16
    # composed the right way up: half precision of the masks is all that differs
    torch.testing.assert_close(turned["he"].as_tensor().transpose(1, 2).float(), upright["he"], atol=2e-3, rtol=0)
    record = read_record(turned["image"])
    assert record is not None
    assert record.source == "image.png"


def test_several_modes_by_weight() -> None:
    transform = augment(mode={"synthesize": 3, "reconstruct": 1}).set_random_state(0)
    found = Counter()
    for _ in range(200):
        made = transform(item())
        mode = json.loads(made["image_generated"])["mode"]
        found[mode] += 1
        assert torch.equal(made["he"], item()["he"])  # both keep this item's masks
    assert found["synthesize"] / 200 == pytest.approx(0.75, abs=0.1)


def test_sizes() -> None:
    with pytest.raises(ImageValueError, match="larger than the generator's 64 px"):
        augment()(item(size=96))
    large = augment(allow_upsampling=True)(item(size=96))
    assert large["image"].shape == (3, 96, 96)
    assert torch.equal(large["he"], item(size=96)["he"])  # the masks keep their own resolution
    small = augment()(item(size=48))
    assert small["image"].shape == (3, 48, 48)
    torch.testing.assert_close(small["image"][0], small["vessel"][0], atol=0.35, rtol=0)


def test_gate_retries_with_other_lesions_then_keeps_image_and_masks(composer: MaskComposer) -> None:
    class Never:
        def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
            assert originals is None
            seen.append(images.clone())
            return GateVerdict(["no"] * len(images), "Never")

    seen: list[torch.Tensor] = []
    real = item()
    kept = augment(lesion_bank=composer, gate=Never(), max_retries=2)(real)
    assert len(seen) == 3
    assert not torch.equal(seen[0][0, 1], seen[1][0, 1])
    assert all(torch.equal(kept[key], real[key]) for key in ("image", *ANATOMY, *LESIONS))
    assert kept["image_generated"] == ""


@pytest.mark.parametrize(
    ("options", "data", "error", "message"),
    [
        ({}, {"ex": torch.zeros(1, 32, 32)}, ImageValueError, "masks have the size of their image"),
        ({"generator": "retina_vae"}, {}, UnsupportedModeError, "no mode 'synthesize'"),
        ({}, {"membrane": torch.zeros(1, 64, 64)}, ValueError, r"also holds the masks \['membrane'\]"),
        ({}, {"grade": 7}, ValueError, "outside 0-4"),
    ],
)
def test_bad_items_are_named(options: Any, data: Any, error: type[Exception], message: str, bundles_dir: Path) -> None:
    if "generator" in options:
        options = {"generator": bundles_dir / options["generator"]}
    with pytest.raises(error, match=message):
        augment(**options)({**item(), **data})


def test_composing_names_what_is_missing(composer: MaskComposer, tmp_path: Path) -> None:
    bare = {key: item()[key] for key in ("image", "vessel", "grade")}
    with pytest.raises(ImageValueError, match="'fov'"):
        augment(lesion_bank=composer, allow_missing_keys=True)(bare)
    with pytest.raises(DatalistError, match="no such lesion bank"):
        augment(lesion_bank=tmp_path / "none.npz")(item())
    with pytest.raises(ImageValueError, match="none came"):
        augment(allow_missing_keys=True)({"image": torch.zeros(3, 64, 64), "grade": 2})


def test_masks_that_could_not_follow_the_image_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="a sample is another eye"):
        augment(mode={"sample": 1, "synthesize": 1})
    with pytest.raises(ValueError, match="needs mask_keys"):
        GenerativeAugmentd(keys="image", generator=Painter(), mode="synthesize")
    with pytest.raises(ValueError, match="a sample is another eye"):
        BatchGenerativeAugment(generator=Painter(), mask_keys=("ex",), image_order="CHW")


def test_options_reach_the_generator() -> None:
    made = augment(synthesize_options={"allow": ["overlap"]})(item())
    assert json.loads(made["image_generated"])["options"]["allow"] == ["overlap"]


def test_lesions_of_a_real_eye_may_lie_on_its_disc() -> None:
    """Annotations do so: what would be refused as a request passes as the item's own masks, and the record says so."""
    generator = DRGANGenerator(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False), image_size=64)
    masks = {name: item()[name] for name in ("vessel", "od", "fov")} | {"ex": item()["od"].clone()}
    with pytest.raises(ImageValueError, match="'ex' lies on the optic disc"):
        generator.synthesize({name: mask[None] for name, mask in masks.items()}, [3], seeds=[0])
    made = augment(generator=generator, allow_missing_keys=True)({"image": item()["image"], "grade": 3, **masks})
    assert json.loads(made["image_generated"])["options"]["allow"] == ["overlap"]


def test_pickles_small_with_the_path_of_a_bank(phantom_bank: LesionBank, tmp_path: Path) -> None:
    phantom_bank.save(tmp_path / "bank.npz")
    transform = augment(lesion_bank=tmp_path / "bank.npz")
    transform(item())
    assert len(pickle.dumps(transform)) < 10_000
    handle = transform.augment.source.maker.conditions.composer
    assert copy.deepcopy(transform).augment.source.maker.conditions.composer is handle
    assert pickle.loads(pickle.dumps(handle)).get() is handle.get()  # type: ignore[union-attr]


def test_in_a_loader_for_segmentation(phantom_folder: Path, composer: MaskComposer) -> None:
    """Images, masks and labels of a batch belong together, also where items lack lesions."""
    items = load_datalist(phantom_folder / "datalist.json")["training"][:10]
    keys = ("vessel", "od", "fov", *LESIONS)
    for bare in items[::3]:
        bare.pop("ex")
    steps = [
        LoadFundusd(keys="image", mask_keys=keys, allow_missing_keys=True),
        GenerativeAugmentd(
            keys="image",
            mask_keys=keys,
            generator=Painter(),
            mode="synthesize",
            prob=0.5,
            lesion_bank=composer,
            allow_missing_keys=True,
        ),
        StackMasksd(structures=("he", "ex")),
    ]
    pipeline = Compose(
        [step if not isinstance(step, LoadFundusd) else _without_unused(step) for step in steps]
    ).set_random_state(1)
    batch = next(iter(DataLoader(Dataset(items, pipeline), batch_size=10)))
    synthetic = [i for i in range(10) if torch.equal(batch["label"][i, 0] > 127, batch["image"][i, 1] > 127)]
    assert 1 <= len(synthetic) <= 9


def _without_unused(load: LoadFundusd) -> Any:
    def step(data: Any) -> Any:
        return load({k: v for k, v in data.items() if k not in ("laser", "membrane")})

    return step


# --- array, batch and bank form -------------------------------------------------------------------------------------


def test_array_form(composer: MaskComposer) -> None:
    transform = GenerativeAugment(
        generator=Painter(), mode="synthesize", prob=1.0, image_order="CHW", lesion_bank=composer
    )
    real = item()
    image, outcome = transform.augment(real["image"], 3, {k: real[k] for k in ANATOMY})
    assert set(outcome.masks) == {*ANATOMY, *composer.lesions}
    torch.testing.assert_close(torch.as_tensor(image)[1], outcome.masks["he"][0])


def test_batch_form(composer: MaskComposer) -> None:
    generator = Painter()
    transform = BatchGenerativeAugment(
        generator=generator,
        mode="synthesize",
        prob={3: 1.0},
        mask_keys=(*ANATOMY, *LESIONS),
        lesion_bank=composer,
        image_order="CHW",
    )
    items = [item(grade=g, index=i) for i, g in enumerate((0, 3, 3))]
    batch = {k: torch.stack([one[k] for one in items]) for k in ("image", *ANATOMY, *LESIONS)}
    made = transform({**batch, "grade": torch.tensor([0, 3, 3])})
    assert generator.calls == 1
    assert torch.equal(made["image"][0], batch["image"][0])
    assert torch.equal(made["he"][0], batch["he"][0])
    for row in (1, 2):
        shows({key: made[key][row] for key in ("image", "vessel", "he")})
        assert not torch.equal(made["he"][row], batch["he"][row])
    with pytest.raises(KeyError, match=r"\['se'\] are not in the data"):
        transform({k: v for k, v in {**batch, "grade": torch.tensor([0, 3, 3])}.items() if k != "se"})


def test_bank_form_serves_image_and_masks(phantom_folder: Path, composer: MaskComposer, tmp_path: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"]
    folder = expand(
        Painter(48), {3: 4}, tmp_path / "bank", gate=None, masks=items, lesion_bank=composer, progress=False
    )
    transform = augment(generator=None, bank=folder).set_random_state(0)
    made = transform(item(size=48))
    image, he = torch.as_tensor(made["image"]), torch.as_tensor(made["he"])
    torch.testing.assert_close(image[1], he[0], atol=0.012, rtol=0)  # both went through 8 bits; faintest are 0
    assert read_record(made["image_generated"]).mode == "synthesize"  # type: ignore[union-attr]
    plain = GenerativeAugmentd(keys="image", bank=folder, prob=1.0, image_order="CHW")
    assert plain({"image": torch.zeros(3, 48, 48), "grade": 3})["image_generated"]  # for grading, without masks
    with pytest.raises(ValueError, match="made ahead"):
        GenerativeAugment(bank=folder, mode="edit", lesion="ex")
    for path in (folder / "masks" / "he").rglob("*.png"):
        path.write_bytes(b"changed")
    os.utime(folder / "manifest.json")  # what is in memory is as the manifest says; this has it read again
    with pytest.raises(DatalistError, match="was changed"):
        transform(item(size=48))


# --- ComposeMasks ---------------------------------------------------------------------------------------------------


def test_compose_masks_draws_grades_and_seeds(composer: MaskComposer) -> None:
    assert ComposeMasksd is ComposeMasksD is ComposeMasksDict
    transform = ComposeMasksd(keys=("ma", "he"), bank=composer, grades=[1, 2, 3], image_order="CHW")
    transform.set_random_state(0)
    made = [transform(item(grade=0)) for _ in range(40)]
    assert {one["grade"] for one in made} == {1, 2, 3}
    assert len({json.loads(one["composed"])["seed"] for one in made}) == 40
    assert not any(one["he"].any() for one in made if one["grade"] == 1)
    transform.set_random_state(0)
    assert torch.equal(transform(item(grade=0))["ma"], made[0]["ma"])


def test_compose_masks_knows_which_way_up(composer: MaskComposer) -> None:
    masks = {k: item()[k] for k in ("fov", "od")}
    upright = ComposeMasks(bank=composer, image_order="CHW").set_random_state(4)(masks, 3)
    turned = ComposeMasks(bank=composer, image_order="CWH").set_random_state(4)
    made = turned({k: m.transpose(1, 2) for k, m in masks.items()}, np.float32(3))
    assert torch.equal(made.masks["he"].transpose(1, 2), upright.masks["he"])
    assert set(made.masks) == set(LESION_MASKS)


def test_compose_masks_errors(composer: MaskComposer) -> None:
    with pytest.raises(ValueError, match="unknown lesions"):
        ComposeMasksd(keys=("vessel",), bank=composer)
    with pytest.raises(ValueError, match="grades"):
        ComposeMasks(bank=composer, grades=[7])
    with pytest.raises(KeyError, match="no 'fov'"):
        ComposeMasksd(bank=composer, image_order="CHW")({"grade": 1})
    with pytest.raises(ImageValueError, match="image_order"):
        ComposeMasks(bank=composer)({"fov": torch.ones(1, 8, 8)}, 1)
