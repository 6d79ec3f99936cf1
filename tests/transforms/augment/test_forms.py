"""Array, dictionary and batch form do the same, keep what is the caller's, and mix nothing between threads."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.utils import set_determinism

from monai_retina_gen.data import read_record
from monai_retina_gen.generators import GeneratedBatch, RetinaGenerator
from monai_retina_gen.transforms import (
    BatchGenerativeAugment,
    GenerativeAugment,
    GenerativeAugmentd,
    LesionEdit,
    LesionEditd,
)

SIDE = 8


class Shades(RetinaGenerator):
    """A sample's red is its grade, its green its seed; it takes its time, so that threads meet."""

    modes = frozenset({"sample", "reconstruct"})
    image_size = SIDE

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__(torch.nn.Identity())
        self.pause = pause

    @property
    def missing_grades(self) -> frozenset[int]:
        return frozenset({4})

    def sample(self, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        time.sleep(self.pause)
        grade = self.check_grades(grades)
        image = torch.zeros(len(grade), 3, SIDE, SIDE)
        image[:, 0], image[:, 1] = grade.view(-1, 1, 1) / 4, torch.tensor(seeds).view(-1, 1, 1) / 2**32
        records = [self.record("sample", g, s) for g, s in zip(grade.tolist(), seeds, strict=True)]
        return GeneratedBatch(image, grade, records)

    def reconstruct(self, images: Any, grades: Any, *, sources: Any = None, **options: Any) -> GeneratedBatch:
        grade = self.check_grades(grades)
        return GeneratedBatch(images / 2, grade, [self.record("reconstruct", g, 0) for g in grade.tolist()])


def photograph(name: str = "left/eye.png", value: float = 0.5) -> MetaTensor:
    meta = {"image_order": "CHW", "filename_or_obj": name, "generated": "of before"}
    return MetaTensor(torch.full((3, SIDE, SIDE), value), meta=meta)


def collated(*images: MetaTensor) -> MetaTensor:
    batch = MetaTensor(torch.stack([image.as_tensor() for image in images]))
    batch.meta = {key: [image.meta[key] for image in images] for key in images[0].meta}
    batch.is_batch = True
    return batch


# --- threads ----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(grades=st.lists(st.integers(0, 3), min_size=8, max_size=40), threads=st.integers(2, 6))
def test_threads_that_share_a_transform_mix_no_grades(grades: list[int], threads: int) -> None:
    augment = GenerativeAugmentd("image", generator=Shades(pause=1e-4), prob=1.0)

    def shown(grade: int) -> float:
        item = augment({"image": photograph(), "grade": grade})
        record = read_record(item["image_generated"])
        assert record is not None
        assert float(item["image"][1, 0, 0]) == pytest.approx(record.seed / 2**32, abs=1e-6)
        return float(item["image"][0, 0, 0]) * 4

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(shown, grades)) == grades


def test_a_call_that_is_slow_keeps_its_own_plan() -> None:
    """The second thread draws and finishes while the first is still between its draw and its image."""
    augment, drawn, done = GenerativeAugment(generator=Shades(), prob={3: 1.0}), threading.Event(), threading.Event()
    policy = augment.policy.draw

    def slow(random: Any, label: int, *rest: Any) -> Any:
        plan = policy(random, label, *rest)
        if label == 3:
            drawn.set()
            done.wait(5)
        return plan

    augment.policy.draw = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(augment, photograph(), 3)
        drawn.wait(5)
        assert read_record(augment(photograph(), 0)) is None
        done.set()
        assert read_record(first.result()) is not None


# --- what is the caller's ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prob", [0.0, 1.0])
@pytest.mark.parametrize("grade", [2, 4])
def test_nothing_is_written_into_what_came_in(prob: float, grade: int) -> None:
    options: dict[str, Any] = {"generator": Shades(), "prob": prob}
    for form in (
        lambda image: GenerativeAugment(**options)(image, grade),
        lambda image: GenerativeAugmentd("image", **options)({"image": image, "grade": grade})["image"],
    ):
        image = photograph()
        made = form(image)
        assert image.meta["generated"] == "of before"
        assert "generation_refused" not in image.meta
        assert torch.equal(image.as_tensor(), photograph().as_tensor())
        assert bool(made.meta["generated"]) == (prob == 1 and grade == 2)
        assert bool(made.meta["generation_refused"]) == (prob == 1 and grade == 4)
    batch = {"image": collated(photograph(), photograph()), "grade": torch.tensor([grade, grade])}
    out = BatchGenerativeAugment(**options)(batch)
    assert batch["image"].meta["generated"] == ["of before"] * 2
    assert torch.equal(batch["image"].as_tensor(), torch.full((2, 3, SIDE, SIDE), 0.5))
    assert out["image"].is_batch
    assert [bool(r) for r in out["image"].meta["generation_refused"]] == [prob == 1 and grade == 4] * 2


def test_sources_of_equal_file_names_stay_apart() -> None:
    options: dict[str, Any] = {"generator": Shades(), "prob": 1.0, "mode": "reconstruct"}
    names = ["left/1.png", "right/1.png"]
    images = [photograph(name) for name in names]
    array = [read_record(GenerativeAugment(**options)(image, 1)) for image in images]
    batch = BatchGenerativeAugment(**options)({"image": collated(*images), "grade": torch.tensor([1, 1])})
    records = [*array, *(read_record(text) for text in batch["image_generated"])]
    assert [record.source for record in records if record] == names * 2


# --- all forms alike --------------------------------------------------------------------------------------------------


def test_every_form_has_every_keyword() -> None:
    """Written out, with the same defaults: nothing hides behind `**options`."""
    for base, others in (
        (GenerativeAugment, [GenerativeAugmentd, BatchGenerativeAugment]),
        (LesionEdit, [LesionEditd]),
    ):
        wanted = inspect.signature(base).parameters
        for form in others:
            found = inspect.signature(form).parameters
            assert {name: p.default for name, p in wanted.items()}.items() <= {
                name: p.default for name, p in found.items()
            }.items()
            assert all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in found.values())
    assert GenerativeAugment(generator=Shades(), mode="edit").policy.strength == (0.3, 1.0)


@settings(max_examples=25, deadline=None)
@given(grades=st.lists(st.integers(0, 4), min_size=1, max_size=6), seed=st.integers(0, 2**31))
def test_batch_form_finishes_each_row_as_the_dictionary_form(grades: list[int], seed: int) -> None:
    options: dict[str, Any] = {"generator": Shades(), "prob": {2: 1.0, 3: 0.5, 4: 0.7}}
    images = [photograph(f"{i}/eye.png", value=i / 10) for i in range(len(grades))]
    batch = {"image": collated(*images), "grade": torch.tensor(grades)}
    made = BatchGenerativeAugment(**options).set_random_state(seed)(batch)
    single = GenerativeAugmentd("image", **options).set_random_state(seed)
    for row, (image, grade) in enumerate(zip(images, grades, strict=True)):
        item = single({"image": image, "grade": grade})
        assert torch.equal(made["image"][row].as_tensor(), item["image"].as_tensor())
        for key in ("image_generated", "image_refused"):
            assert made[key][row] == item[key]
        for key in ("generated", "generation_refused"):
            assert made["image"].meta[key][row] == item["image"].meta[key]


@pytest.mark.parametrize(
    "draw",
    [
        lambda **o: [GenerativeAugment(**o)(photograph(), 2) for _ in range(2)][1].meta["generated"],
        lambda **o: GenerativeAugmentd("image", **o)({"image": photograph(), "grade": 2})["image_generated"],
        lambda **o: BatchGenerativeAugment(**o)({"image": collated(photograph()), "grade": [2]})["image_generated"],
    ],
)
def test_set_determinism_reaches_a_transform_that_stands_alone(draw: Callable[..., Any]) -> None:
    runs = []
    try:
        for seed in (0, 0, 1):
            set_determinism(seed)
            runs.append(draw(generator=Shades(), prob=1.0))
    finally:
        set_determinism(None)
    assert runs[0] == runs[1] != runs[2]


def test_masks_that_the_data_lack_are_an_error_in_every_form_unless_allowed() -> None:
    options: dict[str, Any] = {"generator": Shades(), "prob": 1.0, "mode": "reconstruct", "mask_keys": ("ex",)}
    item, batch = {"image": photograph(), "grade": 1}, {"image": collated(photograph()), "grade": [1]}
    edit: dict[str, Any] = {"generator": Shades(), "mask_keys": ("ex",)}
    for form in (GenerativeAugmentd("image", **options), LesionEditd("image", **edit)):
        with pytest.raises(KeyError, match=r"mask_keys: \['ex'\] are not in the data"):
            form(item)
    with pytest.raises(KeyError, match=r"mask_keys: \['ex'\] are not in the data"):
        BatchGenerativeAugment(**options)(batch)
    assert GenerativeAugmentd("image", allow_missing_keys=True, **options)(item)["image_generated"]
    assert BatchGenerativeAugment(allow_missing_keys=True, **options)(batch)["image_generated"] != [""]
