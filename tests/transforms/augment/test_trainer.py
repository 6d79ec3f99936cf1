"""Batches in a training loop: the gate's groups, and evaluators that refuse generated images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator

from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.engines import PrepareGradingBatch
from monai_retina_gen.generators import GeneratedBatch, RetinaGenerator
from monai_retina_gen.transforms import BatchGenerativeAugment, GenerativeAugmentHandler, GenerativePrepareBatch


class Halved(RetinaGenerator):
    """Reconstructs every photograph at half its brightness."""

    modes = frozenset({"reconstruct"})
    image_size = 8

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity())

    def reconstruct(self, images: Any, grades: Any, **options: Any) -> GeneratedBatch:
        grade = self.check_grades(grades)
        return GeneratedBatch(images / 2, grade, [self.record("reconstruct", g, 0) for g in grade.tolist()])


class Asked:
    """Refuses grade 1, and remembers of which groups it was asked."""

    def __init__(self) -> None:
        self.groups: list[Any] = []

    def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        self.groups += groups
        return GateVerdict(["too dark" if grade == 1 else "" for grade in grades], "Asked")


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        ([7, 8, 9], ["7", "8", "9"]),
        (["patient 7", "patient 8", "patient 9"], ["patient 7", "patient 8", "patient 9"]),
        (np.array([7, 8, 9]), ["7", "8", "9"]),
        ([None, "a", None], [None, "a", None]),
    ],
)
def test_the_gate_is_asked_of_the_groups_themselves(groups: Any, wanted: list[str]) -> None:
    """Collated numbers are tensors, of whose text no fold of graders knows anything."""
    gate = Asked()
    augment = BatchGenerativeAugment(
        generator=Halved(), mode="reconstruct", prob=1.0, gate=gate, max_retries=0, image_order="CHW"
    )
    items = [{"image": torch.ones(3, 8, 8), "grade": i} for i in range(3)]
    batch = next(iter(DataLoader(Dataset(items), batch_size=3)))
    collated = torch.tensor(groups) if all(isinstance(group, int) for group in groups) else groups
    made = augment({**batch, "group": collated})
    assert gate.groups == wanted
    assert made["image_refused"] == ["", "too dark", ""]
    assert [bool(text) for text in made["image_generated"]] == [True, False, True]
    assert made["image"].mean((1, 2, 3)).tolist() == [0.5, 1.0, 0.5]


def evaluator(**options: Any) -> SupervisedEvaluator:
    items = [{"image": torch.ones(3, 8, 8), "grade": 2}]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
    data = DataLoader(Dataset(items), batch_size=1)
    return SupervisedEvaluator(device=torch.device("cpu"), val_data_loader=data, network=network, **options)


def test_an_evaluator_refuses_generated_images() -> None:
    settings: dict[str, Any] = {"generator": Halved(), "mode": "reconstruct", "image_order": "CHW"}
    generative = GenerativePrepareBatch(settings, PrepareGradingBatch())

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return generative(*args, **kwargs)

    for prepare in (generative, wrapped):
        with pytest.raises(RuntimeError, match="SupervisedEvaluator would evaluate on generated images"):
            evaluator(prepare_batch=prepare).run()
    with pytest.raises(RuntimeError, match="would evaluate on generated images"):
        evaluator(prepare_batch=PrepareGradingBatch(), val_handlers=[GenerativeAugmentHandler(settings)])
    image, grade = generative({"image": torch.ones(1, 3, 8, 8), "grade": torch.tensor([2])}, torch.device("cpu"))
    assert image.shape == (1, 3, 8, 8)
    assert grade.tolist() == [2]
