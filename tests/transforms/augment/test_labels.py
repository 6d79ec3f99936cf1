"""Labels that join grades, in every form of the transform: a label never gets an image of another label's grade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data import GRADE_MAPS, apply_grade_map, count_grades, count_label_grades, read_record
from monai_retina_gen.generators import VAEGenerator
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.transforms import BatchGenerativeAugment, GenerativeAugment, GenerativeAugmentd, LesionEditd
from monai_retina_gen.transforms.expansion.folder import expand

VAE = VAEGenerator(FundusVAE(image_size=32, latent_dim=4, channels=(8, 8, 8, 8)))
IMAGE = torch.zeros(3, 32, 32)


def made_of(records: list[str]) -> list[int]:
    return [read_record(record).grade for record in records]  # type: ignore[union-attr]


def labelled(grades: list[int], name: str) -> list[dict[str, Any]]:
    return apply_grade_map([{"image": IMAGE, "grade": grade} for grade in grades], name)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.sampled_from(sorted(GRADE_MAPS)), st.booleans())
@settings(max_examples=15, deadline=None)
def test_every_form_keeps_the_label(grades: list[int], name: str, own: bool) -> None:
    items = labelled(grades, name)
    options: dict[str, Any] = {"generator": VAE, "prob": 1.0, "image_order": "CHW"}
    if not own:  # as of a data set that has labels alone
        options["label_grades"] = count_label_grades(items)
        items = [{key: item[key] for key in ("image", "grade")} for item in items]
    of = GenerativeAugmentd("image", **options)
    single = [of(item) for item in items]
    array = GenerativeAugment(**options)
    alone = [array(item["image"], item["grade"], own_grade=item.get("icdr_grade")) for item in items]
    batch = {key: [item[key] for item in items] for key in items[0]}
    batch |= {key: torch.tensor(batch[key]) for key in batch if key != "image"} | {"image": torch.stack(batch["image"])}
    together = BatchGenerativeAugment(**options)(batch)
    for made in (
        made_of([item["image_generated"] for item in single]),
        made_of([image.meta["generated"] for image in alone]),
        made_of(together["image_generated"]),
    ):
        assert [GRADE_MAPS[name][grade] for grade in made] == [item["grade"] for item in items]
        assert made == grades or not own
    assert [item["grade"] for item in single] == together["grade"].tolist() == [item["grade"] for item in items]


def test_a_bank_serves_labels(vae_bundle: Path, tmp_path: Path) -> None:
    stands_for = {"0": 0, "1": {"2": 2, "4": 1}}
    folder = expand(
        str(vae_bundle), {0: 1, 1: 3}, tmp_path / "bank", gate=None, progress=False, label_grades=stands_for
    )
    augment = GenerativeAugmentd("image", bank=folder, prob=1.0, image_order="CHW", label_grades=stands_for)
    shown = [made_of([augment({"image": torch.zeros(3, 64, 64), "grade": 1})["image_generated"]])[0] for _ in range(9)]
    assert set(shown) == {2, 4}


def test_balance_over_two_labels_asks_what_they_stand_for() -> None:
    items = labelled([0, 0, 0, 0, 2, 4], "referable")
    augment = GenerativeAugmentd(
        "image", generator=VAE, prob="balance", counts=count_grades(items), image_order="CHW"
    ).set_random_state(0)
    kept = [augment(items[-1])["image_generated"] for _ in range(20)]
    assert set(made_of([record for record in kept if record])) == {4}
    bare = {"image": IMAGE, "grade": 1}
    with pytest.raises(ValueError, match=r"only the labels \[0, 1\].*label_grades="):
        [augment(bare) for _ in range(50)]


@pytest.mark.parametrize("label", ["1.0", 1.0, torch.tensor([1])])
def test_labels_come_in_any_form(label: Any) -> None:
    options: dict[str, Any] = {"generator": VAE, "label_grades": {0: 0, 1: 3}, "image_order": "CHW"}
    augment = GenerativeAugmentd("image", "dr", prob={"1": 1.0}, **options)
    assert made_of([augment({"image": IMAGE, "dr": label})["image_generated"]]) == [3]
    batch = BatchGenerativeAugment(label_key="dr", prob=1.0, **options)
    assert made_of(batch({"image": IMAGE[None], "dr": [label]})["image_generated"]) == [3]
    with pytest.raises(ValueError, match=r"dr: .* one-hot"):
        batch({"image": IMAGE[None], "dr": torch.eye(2)[:1]})


def test_a_given_edit_goes_by_the_grade() -> None:
    edit = LesionEditd("image", generator="retina_stylegan3", image_order="CHW").augment
    assert (edit.plan(1, 3).grade, edit.plan(1).grade) == (3, 1)
