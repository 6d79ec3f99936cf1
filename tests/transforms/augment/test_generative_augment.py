"""GenerativeAugment in all its forms, inside MONAI's and torch's loaders."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, PersistentDataset, ThreadDataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, ScaleIntensityRanged
from monai.utils import set_determinism

from monai_retina_gen.data import balanced_sampler, count_grades, load_datalist, read_record
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.engines import PrepareGradingBatch
from monai_retina_gen.errors import BundleNotFoundError, DatalistError, ImageValueError, UnsupportedModeError
from monai_retina_gen.generators import GANGenerator, GeneratedBatch, RetinaGenerator
from monai_retina_gen.networks import DeconvolutionGenerator
from monai_retina_gen.transforms import (
    BatchGenerativeAugment,
    ComposeMasksd,
    CropToFieldOfViewd,
    GenerativeAugment,
    GenerativeAugmentD,
    GenerativeAugmentd,
    GenerativeAugmentDict,
    GenerativeAugmentHandler,
    GenerativePrepareBatch,
    LesionEditd,
    LoadFundusd,
)
from monai_retina_gen.transforms.expansion.folder import expand


def plain_image(value: float = 0.25, size: int = 32) -> MetaTensor:
    return MetaTensor(torch.full((3, size, size), value), meta={"image_order": "CHW", "filename_or_obj": "a/eye.png"})


class RecordingGenerator(RetinaGenerator):
    """Has every mode; edits brighten, synthesis returns its masks inverted."""

    modes = frozenset({"sample", "edit", "synthesize", "reconstruct"})
    image_size = 32

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity())
        self.calls: list[dict[str, Any]] = []

    def _made(self, mode: str, image: torch.Tensor, grades: Any, masks: Any = None) -> GeneratedBatch:
        grade = self.check_grades(grades)
        records = [self.record(mode, g, 0) for g in grade.tolist()]
        return GeneratedBatch(image, grade, records, masks or {})

    def sample(self, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        self.calls.append({"mode": "sample", "seeds": list(seeds)})
        rows = [torch.full((3, 32, 32), (seed % 1000) / 1000) for seed in seeds]
        return self._made("sample", torch.stack(rows), grades)

    def reconstruct(self, images: Any, grades: Any, **options: Any) -> GeneratedBatch:
        self.calls.append({"mode": "reconstruct", "shape": tuple(images.shape)})
        return self._made("reconstruct", images * 0.5, grades)

    def edit(self, images: Any, grades: Any, **options: Any) -> GeneratedBatch:
        self.calls.append({"mode": "edit", "shape": tuple(images.shape), **options})
        return self._made("edit", (images + 0.1).clamp(0, 1), grades)

    def synthesize(self, masks: Any, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        image = next(iter(masks.values())).repeat(1, 3, 1, 1)
        return self._made("synthesize", image, grades, {k: 1 - m for k, m in masks.items()})


class FixedGate:
    """Accepts after a number of refusals."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.asked = refusals, 0

    def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        self.asked += 1
        return GateVerdict(["too red" if self.asked <= self.refusals else ""] * len(images), "FixedGate")


# --- array form -----------------------------------------------------------------------------------------------------


def test_replaces_and_keeps_what_is_not_pixels(vae_bundle: Path) -> None:
    image = plain_image()
    augment = GenerativeAugment(generator=vae_bundle, prob={3: 1.0})
    made = augment(image, grade=3)
    assert isinstance(made, MetaTensor)
    assert made.shape == image.shape
    assert made.dtype == image.dtype
    assert made.meta["filename_or_obj"] == "a/eye.png"
    record = read_record(made)
    assert record is not None
    assert (record.mode, record.grade, record.label) == ("sample", 3, "unverified")
    assert torch.equal(image, plain_image())  # the input is untouched
    kept = augment(image, grade=2)
    assert torch.equal(kept, image)
    assert read_record(kept) is None


def test_set_random_state_repeats(vae_bundle: Path) -> None:
    augment = GenerativeAugment(generator=vae_bundle, prob=0.5)
    runs = []
    for _ in range(2):
        augment.set_random_state(seed=7)
        runs.append(torch.stack([augment(plain_image(), grade=g % 5) for g in range(8)]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0][0], runs[0][1])


def test_one_plan_for_several_images(vae_bundle: Path) -> None:
    augment = GenerativeAugment(generator=vae_bundle, prob=1.0)
    plan = augment.plan(1)
    first, second, other = (augment(plain_image(), grade=1, plan=which) for which in (plan, plan, "new"))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(augment(plain_image(), grade=1, plan=None), plain_image())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.float32])
def test_dtype_is_kept(vae_bundle: Path, dtype: torch.dtype) -> None:
    made = GenerativeAugment(generator=vae_bundle, prob=1.0)(plain_image().to(dtype), grade=0)
    assert made.dtype == dtype


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (plain_image() * 255, "wanted"),
        (plain_image() * float("nan"), "NaN"),
        ((plain_image() * 255).to(torch.uint8), "uint8"),
        (plain_image()[:1], "RGB"),
        (plain_image()[None], "BatchGenerativeAugment takes batches"),
        (torch.zeros(3, 32, 32), "image_order"),
        (torch.zeros(2, 3, 32, 32)[0, 0], "image_order"),
        (plain_image(size=96), "larger than the generator"),
        (plain_image()[:, :16], "square"),
    ],
)
def test_bad_images_are_named(vae_bundle: Path, image: torch.Tensor, message: str) -> None:
    with pytest.raises(ImageValueError, match=message):
        GenerativeAugment(generator=vae_bundle, prob=1.0)(image, grade=1)


def test_upsampling_must_be_allowed(vae_bundle: Path) -> None:
    augment = GenerativeAugment(generator=vae_bundle, prob=1.0, allow_upsampling=True)
    assert augment(plain_image(size=96), grade=1).shape == (3, 96, 96)


def test_transposed_items_get_transposed_images(vae_bundle: Path) -> None:
    upright = GenerativeAugment(generator=vae_bundle, prob=1.0).set_random_state(0)
    turned = GenerativeAugment(generator=vae_bundle, prob=1.0, image_order="CWH").set_random_state(0)
    a, b = upright(plain_image(), grade=1), turned(torch.zeros(3, 32, 32), grade=1)
    assert torch.equal(torch.as_tensor(a).transpose(1, 2), torch.as_tensor(b))


def test_monai_default_order_pipeline(phantom_folder: Path, vae_bundle: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"][:2]
    steps = [
        LoadImaged(keys="image"),
        EnsureChannelFirstd(keys="image"),
        ScaleIntensityRanged(keys="image", a_min=0, a_max=255, b_min=0, b_max=1),
    ]
    silent = Compose([*steps, GenerativeAugmentd(keys="image", generator=vae_bundle, prob=1.0)])
    with pytest.raises(RuntimeError) as error:
        silent(items[0])
    assert '"CWH"' in str(error.value.__cause__)
    stated = Compose([*steps, GenerativeAugmentd(keys="image", generator=vae_bundle, prob=1.0, image_order="CWH")])
    assert stated(items[0])["image"].shape == (3, 64, 64)


@pytest.mark.parametrize("grade", [None, "two", -1, 1.5, float("nan")])
def test_bad_grades_are_named(vae_bundle: Path, grade: Any) -> None:
    with pytest.raises(ValueError, match="a whole number from 0 is wanted"):
        GenerativeAugment(generator=vae_bundle, prob=1.0)(plain_image(), grade=grade)


def test_modes_that_are_not_there(vae_bundle: Path) -> None:
    with pytest.raises(UnsupportedModeError, match="has no mode 'synthesize'"):
        GenerativeAugment(generator=vae_bundle, mode="synthesize", prob=1.0)(plain_image(), grade=1)


@pytest.mark.parametrize("form", [GenerativeAugment, partial(GenerativeAugmentd, "image"), BatchGenerativeAugment])
def test_a_missing_bundle_is_named_at_construction(form: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MRG_BUNDLES", str(tmp_path / "none"))
    with pytest.raises(BundleNotFoundError, match=r"(?s)'retina_vae' was not found .*none.* set MRG_BUNDLES to"):
        form(generator="retina_vae")


def test_construction_loads_no_weights(vae_bundle: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("monai_retina_gen.generators.loading.load_generator", None)
    GenerativeAugmentd("image", generator=vae_bundle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give `generator`"),
        ({"generator": "g", "prob": 1.5}, "probability"),
        ({"generator": "g", "prob": "often"}, "balance"),
        ({"generator": "g", "prob": "balance"}, "needs counts"),
        ({"generator": "g", "mode": "dream"}, "want modes"),
        ({"generator": "g", "mode": None}, "want modes"),
        ({"generator": "g", "mode": ["sample", "edit"]}, "want modes"),
        ({"generator": "g", "gate": "label", "max_retries": -1}, "max_retries: -1 came"),
        ({"generator": "g", "gate": "label", "max_retries": 1.5}, "max_retries: 1.5 came"),
        ({"generator": "g", "mode": "edit", "lesion": "ex", "strength": (-2, 1)}, "strength"),
        ({"generator": "g", "gate": "strict"}, "gate"),
        ({"mode": "edit", "lesion": None}, "lesion: None came, want a name"),
        ({"mode": "edit", "lesion": 5}, "lesion: 5 came, want a name"),
        ({"lesion": np.array(["ex"])}, "lesion: used by the mode 'edit'"),
        ({"mode": "edit", "edit_options": "step"}, "edit_options: 'step' came, want a dictionary"),
        ({"mode": "synthesize", "synthesize_options": ["allow"]}, "synthesize_options: .* want a dictionary"),
        ({"prob": "balance", "counts": [1, 2]}, r"counts: \[1, 2\] came, want photographs per grade"),
        ({"mode": {"sample": "much"}}, "mode: 'much' came, one number is wanted"),
    ],
)
def test_bad_options_are_named_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerativeAugment(**options)


# --- modes and gate -------------------------------------------------------------------------------------------------


def test_edit_gets_the_items_own_resolution() -> None:
    generator = RecordingGenerator()
    augment = GenerativeAugment(generator=generator, mode="edit", lesion=("ex", "he"), strength=(0.2, 0.4), prob=1.0)
    made = augment(plain_image(size=96), grade=3)
    call = generator.calls[0]
    assert call["shape"] == (1, 3, 96, 96)
    assert call["lesion"][0] in ("ex", "he")
    assert 0.2 <= call["strength"][0] <= 0.4
    assert call["sources"] == ["a/eye.png"]
    torch.testing.assert_close(torch.as_tensor(made), torch.full((3, 96, 96), 0.35))


def test_synthesize_changes_image_and_masks_together() -> None:
    augment = GenerativeAugmentd(
        keys="image", generator=RecordingGenerator(), mode="synthesize", prob=1.0, mask_keys=("ex",)
    )
    item = augment({"image": plain_image(), "ex": torch.full((1, 32, 32), 0.75), "grade": 2})
    assert float(item["image"].mean()) == pytest.approx(0.75)
    assert float(item["ex"].mean()) == pytest.approx(0.25)


def test_several_modes_are_drawn_by_weight() -> None:
    generator = RecordingGenerator()
    augment = GenerativeAugment(generator=generator, mode={"sample": 1, "reconstruct": 3}, prob=1.0)
    augment.set_random_state(0)
    for _ in range(400):
        augment(plain_image(), grade=0)
    share = Counter(call["mode"] for call in generator.calls)["reconstruct"] / 400
    assert share == pytest.approx(0.75, abs=0.07)


def test_gate_retries_then_accepts() -> None:
    generator, gate = RecordingGenerator(), FixedGate(refusals=2)
    made = GenerativeAugment(generator=generator, prob=1.0, gate=gate)(plain_image(), grade=1)
    record = read_record(made)
    assert record is not None
    assert record.label == "verified by FixedGate"
    assert gate.asked == 3
    assert len({call["seeds"][0] for call in generator.calls}) == 3  # every try has its own seed


def test_gate_that_refuses_keeps_the_real_image_and_says_why() -> None:
    gate = FixedGate(refusals=99)
    made = GenerativeAugment(generator=RecordingGenerator(), prob=1.0, gate=gate, max_retries=2)(plain_image(), grade=1)
    assert gate.asked == 3
    assert torch.equal(made, plain_image())
    assert made.meta["generated"] == ""
    assert made.meta["generation_refused"] == "too red"


# --- dictionary form in data sets and loaders -----------------------------------------------------------------------


def test_aliases() -> None:
    assert GenerativeAugmentd is GenerativeAugmentD is GenerativeAugmentDict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator": 5}, "wanted a bundle's name"),
        ({"generator": "g", "mode": "edit", "edit_options": {"strength": 1.0}}, "strength"),
        ({"generator": "g", "mode": "synthesize", "synthesize_options": {"seeds": [1]}}, "seeds"),
    ],
)
def test_options_of_wrong_types_are_named_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        GenerativeAugment(**options)


@pytest.mark.parametrize("form", [GenerativeAugment, partial(GenerativeAugmentd, "image"), BatchGenerativeAugment])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edit_options": {"step": "mu"}}, "edit_options: used by the mode 'edit' .* mode is 'sample'"),
        ({"canvas": "datalist.json"}, "canvas: used by the mode 'synthesize' .* mode is 'sample'"),
        ({"mode": "edit", "lesion_bank": "bank.npz", "canvas": [{}]}, "lesion_bank, canvas: .* mode is 'edit'"),
        ({"background": 0.02, "lesion": "ex"}, "lesion, background: used by the mode 'edit'"),
        ({"strength": (0.3, 1.0)}, "strength: used by the mode 'edit' .* mode is 'sample'"),
        ({"mode": "synthesize", "canvas_grades": (2, 3)}, "canvas_grades: used together with canvas"),
        ({"mode": "synthesize", "canvas": [{}], "lesion_bank": "bank.npz"}, "lesion_bank: not used with canvas"),
        ({"max_retries": 3}, "max_retries: used together with gate"),
        ({"bank": "bank", "device": "cuda"}, "device: where a generator runs, but images come from a bank"),
        (
            {"generator": RecordingGenerator(), "device": "cuda"},
            "device: 'cuda' came with a generator that is on 'cpu'",
        ),
        ({"mode": "synthesize", "bank": "bank", "synthesize_options": {"allow": []}}, "synthesize_options: .* a bank"),
        ({"prob": {}}, r"prob=\{\}: want a probability for one or several of 0, 1, 2, 3, 4"),
        ({"prob": {7: 0.5}}, r"prob=\{7: 0.5\}: want .* of 0, 1, 2, 3, 4"),
        ({"prob": {2: 0.5}, "label_grades": {0: 0, 1: 2}}, r"prob=\{2: 0.5\}: want .* of 0, 1$"),
    ],
)
def test_options_that_would_do_nothing_are_named(form: Callable[..., Any], options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        form(**{"generator": "g", **options})


@pytest.mark.parametrize(
    ("form", "needed"),
    [
        (GenerativeAugmentd, {}),
        (LesionEditd, {"generator": "g"}),
        (CropToFieldOfViewd, {}),
        (ComposeMasksd, {"bank": "bank.npz"}),
    ],
)
def test_unknown_arguments_are_reported_under_the_name_of_the_form(form: type, needed: dict[str, str]) -> None:
    with pytest.raises(TypeError, match=rf"^{form.__name__}: got an unexpected keyword argument 'stength'"):
        form(keys="image", stength=1, **needed)


@pytest.mark.parametrize("form", [partial(GenerativeAugmentd, "image"), BatchGenerativeAugment])
def test_unknown_masks_are_named(form: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"mask_keys: unknown \['exudates'\]; masks are called ma, he, ex, se, od,"):
        form(generator=RecordingGenerator(), mode="edit", mask_keys=("ex", "exudates"))


@pytest.mark.parametrize("mask", [None, "mask.png"])
def test_masks_that_were_not_loaded_are_named(mask: Any) -> None:
    augment = GenerativeAugmentd("image", generator=RecordingGenerator(), mode="edit", prob=1.0, mask_keys="ma")
    with pytest.raises(ImageValueError, match=r"mask 'ma'.*LoadFundusd"):
        augment({"image": plain_image(), "grade": 2, "ma": mask})


def test_missing_keys(vae_bundle: Path) -> None:
    item = {"grade": 1}
    assert GenerativeAugmentd(keys="image", generator=vae_bundle, allow_missing_keys=True)(item) == item
    with pytest.raises(KeyError, match="image"):
        GenerativeAugmentd(keys="image", generator=vae_bundle)(item)
    with pytest.raises(KeyError, match="label_key 'grade'"):
        GenerativeAugmentd(keys="image", generator=vae_bundle)({"image": plain_image()})


def test_pickles_small_and_copies_without_weights(vae_bundle: Path) -> None:
    augment = GenerativeAugmentd(keys="image", generator=vae_bundle, prob=1.0, gate="label")
    augment.augment.source.maker.handle.get()  # type: ignore[union-attr]
    assert len(pickle.dumps(augment)) < 10_000
    copied = copy.deepcopy(augment)
    assert copied.augment.source.maker.handle is augment.augment.source.maker.handle


def _pipeline(bundle: Path, **options: Any) -> Compose:
    return Compose([LoadFundusd(keys="image"), GenerativeAugmentd(keys="image", generator=str(bundle), **options)])


def _epoch(loader: Any) -> list[tuple[int, str]]:
    return [
        (int(grade), record)
        for batch in loader
        for grade, record in zip(batch["grade"], batch["image_generated"], strict=True)
    ]


def _seeds(rows: list[tuple[int, str]]) -> list[int]:
    return [GenerationRecord.from_json(record).seed for _, record in rows if record]


@pytest.mark.parametrize(
    ("loader_class", "workers"),
    [(torch.utils.data.DataLoader, 0), (torch.utils.data.DataLoader, 2), (DataLoader, 0), (DataLoader, 4)],
)
def test_workers_draw_different_seeds_and_repeat(
    phantom_folder: Path, vae_bundle: Path, loader_class: Any, workers: int
) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"]

    def epochs() -> list[list[tuple[int, str]]]:
        set_determinism(0)
        pipeline = _pipeline(vae_bundle, prob=1.0)
        pipeline.set_random_state(0)
        loader = loader_class(
            Dataset(items, pipeline),
            batch_size=5,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        return [_epoch(loader), _epoch(loader)]

    first = epochs()
    seeds = _seeds(first[0]) + _seeds(first[1])
    assert len(seeds) == 2 * len(items)
    assert len(set(seeds)) == len(seeds)  # no two workers, items or epochs share a latent
    assert [g for g, _ in first[0]] == [item["grade"] for item in items]  # the last batch is short
    assert epochs() == first


@pytest.mark.slow
def test_spawned_workers(phantom_folder: Path, vae_bundle: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"][:4]
    dataset = Dataset(items, _pipeline(vae_bundle, prob=1.0))
    loader = DataLoader(dataset, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    assert len(_seeds(_epoch(loader))) == 4


def test_cache_persistent_and_thread_loaders(phantom_folder: Path, vae_bundle: Path, tmp_path: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"][:6]
    for dataset in (
        CacheDataset(items, _pipeline(vae_bundle, prob=1.0), progress=False),
        # which keeps no metadata, so the order of the axes has to be stated
        PersistentDataset(items, _pipeline(vae_bundle, prob=1.0, image_order="CHW"), cache_dir=tmp_path),
    ):
        loader = DataLoader(dataset, batch_size=4)
        first, second = _seeds(_epoch(loader)), _seeds(_epoch(loader))
        assert set(first).isdisjoint(second)  # the cache ends before the random transform
    cached = CacheDataset(items, _pipeline(vae_bundle, prob=1.0), progress=False)
    assert len(_seeds(_epoch(ThreadDataLoader(cached, batch_size=4, num_workers=0)))) == 6


def test_records_survive_collation_of_mixed_batches(phantom_folder: Path, vae_bundle: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"][:10]
    loader = DataLoader(Dataset(items, _pipeline(vae_bundle, prob={4: 1.0})), batch_size=10)
    batch = next(iter(loader))
    for grade, record in zip(batch["grade"].tolist(), batch["image"].meta["generated"], strict=True):
        assert bool(record) == (grade == 4)


# --- balance --------------------------------------------------------------------------------------------------------


def test_balance_shows_every_photograph_equally_often() -> None:
    counts = {0: 40, 1: 4, 2: 20}
    items = [{"grade": g, "id": f"{g}/{i}"} for g, n in counts.items() for i in range(n)]
    augment = GenerativeAugment(generator=RecordingGenerator(), prob="balance", counts=counts).set_random_state(0)
    real, total = Counter(), Counter()
    for index in balanced_sampler(items, num_samples=60_000, seed=1):
        grade = items[index]["grade"]
        total[grade] += 1
        real[grade] += augment.plan(grade) is None
    for grade, number in counts.items():
        assert total[grade] == pytest.approx(20_000, rel=0.03)  # grades are balanced
        assert real[grade] / number == pytest.approx(20_000 / 40, rel=0.08)  # and photographs are not repeated more


@settings(max_examples=30, deadline=None)
@given(prob=st.floats(0, 1), seed=st.integers(0, 2**32 - 1), grade=st.integers(0, 4))
def test_draws_are_reproducible_and_in_range(prob: float, seed: int, grade: int) -> None:
    edits = {"mode": "edit", "lesion": "ex", "strength": (-0.5, 0.25)}
    augment = GenerativeAugment(generator=RecordingGenerator(), prob=prob, **edits)
    plans = []
    for _ in range(2):
        augment.set_random_state(seed)
        plans.append(augment.plan(grade))
    assert plans[0] == plans[1]
    if plans[0] is not None:
        assert -0.5 <= plans[0].strength <= 0.25
        assert 0 <= plans[0].seed < 2**32


# --- bank -----------------------------------------------------------------------------------------------------------


def test_bank_serves_its_images_and_refuses_changed_ones(vae_bundle: Path, tmp_path: Path) -> None:
    folder = expand(str(vae_bundle), {3: 2, 4: 1}, tmp_path / "bank", gate=None, progress=False)
    augment = GenerativeAugment(bank=folder, prob=1.0).set_random_state(0)
    seeds = {read_record(augment(plain_image(), grade=3)).seed for _ in range(20)}  # type: ignore[union-attr]
    assert len(seeds) == 2
    with pytest.raises(DatalistError, match="no image of grade 0"):
        augment(plain_image(), grade=0)
    picture = next((folder / "images" / "grade4").iterdir())
    picture.write_bytes(picture.read_bytes() + b" ")
    with pytest.raises(DatalistError, match="was changed"):
        augment(plain_image(), grade=4)
    with pytest.raises(DatalistError, match=r"no manifest\.json"):
        GenerativeAugment(bank=tmp_path, prob=1.0)(plain_image(), grade=4)


def test_bank_whose_gate_refused_a_grade_keeps_the_real_image(vae_bundle: Path, tmp_path: Path) -> None:
    class Not3:
        def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
            return GateVerdict(["no" if g == 3 else "" for g in grades], "Not3")

    folder = expand(str(vae_bundle), {3: 2, 4: 1}, tmp_path / "bank", gate=Not3(), progress=False)
    augment = GenerativeAugment(bank=folder, prob=1.0)
    kept = augment(plain_image(), grade=3)
    assert torch.equal(kept, plain_image())
    assert "refused every image of grade 3" in kept.meta["generation_refused"]
    assert read_record(augment(plain_image(), grade=4)) is not None
    with pytest.raises(DatalistError, match="no image of grade 0"):  # which was never asked for
        augment(plain_image(), grade=0)


# --- batch forms ----------------------------------------------------------------------------------------------------


def _batch(grades: list[int]) -> dict[str, Any]:
    return {"image": torch.full((len(grades), 3, 32, 32), 0.25), "grade": torch.tensor(grades)}


def test_batch_form_makes_one_call_and_keeps_the_size() -> None:
    generator = RecordingGenerator()
    augment = BatchGenerativeAugment(generator=generator, prob={3: 1.0}, image_order="CHW")
    batch = _batch([0, 3, 3, 1])
    made = augment(batch)
    assert len(generator.calls) == 1
    assert len(generator.calls[0]["seeds"]) == 2
    assert made["image"].shape == batch["image"].shape
    assert torch.equal(made["image"][0], batch["image"][0])
    assert [bool(r) for r in made["image_generated"]] == [False, True, True, False]
    assert float(batch["image"].mean()) == 0.25  # the loader's batch is untouched
    assert augment(_batch([3]))["image"].shape == (1, 3, 32, 32)  # a short last batch
    with pytest.raises(ValueError, match="2 images with 1 grades"):
        augment({"image": torch.zeros(2, 3, 32, 32), "grade": torch.tensor([1])})


def test_batch_synthesis_changes_masks() -> None:
    augment = BatchGenerativeAugment(
        generator=RecordingGenerator(), mode="synthesize", prob={2: 1.0}, mask_keys=("ex",), image_order="CHW"
    )
    made = augment({**_batch([0, 2]), "ex": torch.full((2, 1, 32, 32), 0.75)})
    assert made["ex"].mean(dim=(1, 2, 3)).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("form", ["prepare_batch", "handler"])
def test_batch_forms_in_a_monai_trainer(phantom_folder: Path, vae_bundle: Path, form: str) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"]
    counts = count_grades(items)
    augment = BatchGenerativeAugment(generator=str(vae_bundle), prob="balance", counts={**counts, 0: 20})
    seen: list[str] = []
    prepare = PrepareGradingBatch()

    def spy(batch: Any, *args: Any, **kwargs: Any) -> Any:
        seen.extend(batch["image_generated"])
        return prepare(batch, *args, **kwargs)

    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 5))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items, LoadFundusd(keys="image")), batch_size=5),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=torch.nn.CrossEntropyLoss(),
        prepare_batch=GenerativePrepareBatch(augment, spy) if form == "prepare_batch" else spy,
        train_handlers=[GenerativeAugmentHandler(augment)] if form == "handler" else [],
    )
    trainer.run()
    assert len(seen) == len(items)
    assert any(seen)
    assert not all(seen)


def test_float_grades_of_a_collated_batch() -> None:
    augment = BatchGenerativeAugment(generator=RecordingGenerator(), prob=1.0, image_order="CHW")
    batch = {"image": torch.zeros(2, 3, 32, 32), "grade": np.array([1.0, 2.0])}
    assert len(augment(batch)["image_generated"]) == 2


def test_a_grade_that_the_generator_lacks_stays_real_and_says_so() -> None:
    network = DeconvolutionGenerator(width=2)
    network.set_curated([torch.zeros(2, 100), *[torch.zeros(0, 100)] * 4])
    augment = GenerativeAugmentd(
        keys="image", label_key="grade", generator=GANGenerator(network), prob=1.0, image_order="CHW"
    )
    made, kept = (augment({"image": plain_image(size=64), "grade": grade}) for grade in (0, 1))
    assert made["image_generated"]
    assert kept["image_generated"] == ""
    assert torch.equal(kept["image"].as_tensor(), plain_image(size=64).as_tensor())
    assert "no image of grade 1" in str(kept["image"].meta)
