"""A sampled image's retina touches all four sides of its square: items that do not are told, once."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.generators import GeneratedBatch, RetinaGenerator
from monai_retina_gen.transforms import BatchGenerativeAugment, CropToFieldOfView, GenerativeAugment, GenerativeAugmentd
from monai_retina_gen.transforms.augment import outcome


class GreyGenerator(RetinaGenerator):
    """Samples and edits: grey squares."""

    modes = frozenset({"sample", "edit"})
    image_size = 48

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity())

    def sample(self, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        grade = self.check_grades(grades)
        image = torch.full((len(grade), 3, 48, 48), 0.5)
        return GeneratedBatch(image, grade, [self.record("sample", g, 0) for g in grade.tolist()])


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    outcome._warn.cache_clear()


def cropped(margin: float) -> MetaTensor:
    image = torch.as_tensor(phantom_fundus(seed=3, size=128).image)
    return CropToFieldOfView(size=48, margin=margin, image_order="CHW")(image)


def resized() -> MetaTensor:
    return MetaTensor(torch.full((3, 48, 48), 0.4), meta={"image_order": "CHW"})


def sampling(**options: Any) -> dict[str, Any]:
    return {"generator": GreyGenerator(), "mode": "sample", "prob": 1.0, **options}


@pytest.mark.parametrize(("image", "how"), [(cropped(0.15), "with a margin"), (resized(), "not cropped")])
def test_another_field_of_view_is_said_once_in_every_form(image: MetaTensor, how: str) -> None:
    item = {"image": image, "grade": 2}
    forms = [
        lambda: GenerativeAugment(**sampling())(image, 2),
        lambda: GenerativeAugmentd(keys="image", **sampling())(item),
        lambda: BatchGenerativeAugment(**sampling())(list_data_collate([item, item])),
    ]
    for form in forms:
        outcome._warn.cache_clear()
        with pytest.warns(UserWarning, match=how):
            form()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            form()


def test_the_same_field_of_view_needs_no_word() -> None:
    item = {"image": cropped(0.0), "grade": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GenerativeAugmentd(keys="image", **sampling())(item)
        BatchGenerativeAugment(**sampling())(list_data_collate([item, item]))
        GenerativeAugmentd(keys="image", **sampling(prob=0.0))({"image": resized(), "grade": 2})
