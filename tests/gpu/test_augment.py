"""`GenerativeAugment` by batch on CUDA, with the gate, inside a MONAI training in bfloat16."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from monai_retina_gen.data import PhantomDataset
from monai_retina_gen.editing import GateLimits, LabelGate
from monai_retina_gen.engines import AutocastInferer, FundusSegmenter, PrepareGradingBatch
from monai_retina_gen.generators import RetinaGenerator, VAEGenerator
from monai_retina_gen.networks import FundusGrader, FundusVAE, LesionSegmenter
from monai_retina_gen.transforms import BatchGenerativeAugment, GenerativePrepareBatch

LIMITS = GateLimits(0.1, {64: [4.0] * 5}, {64: [1.0] * 5}, 1.0, 5.0, 1.0, 1.0)


class Grader(nn.Module):
    """Probabilities of a small untrained grader; remembers where it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.devices = FundusGrader(backbone="vgg16", width=0.125), set[torch.device]()

    def forward(self, image: Tensor, groups: Any) -> Tensor:
        self.devices.add(image.device)
        probabilities: Tensor = self.network(image).softmax(1)
        return probabilities


@pytest.fixture(scope="module")
def generator() -> RetinaGenerator:
    return VAEGenerator(FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8))).to("cuda")


def batch_of(count: int) -> dict[str, Any]:
    dataset = PhantomDataset(length=count, size=64, seed=1)
    items = [dataset[i] for i in range(count)]
    return {
        "image": torch.stack([item["image"] for item in items]).as_subclass(Tensor).cuda(),
        "grade": torch.tensor([item["grade"] for item in items]),
    }


def test_gate_and_batch_form_run_where_the_images_are(generator: RetinaGenerator) -> None:
    grader = Grader()
    segmenter = FundusSegmenter(LesionSegmenter(structures=["vessel", "ex"], channels=(4, 8, 8)), image_size=64,
                                structures=["vessel", "ex"], device="cuda")  # fmt: skip
    gate = LabelGate(graders=grader, segmenter=segmenter, limits=LIMITS)
    augment = BatchGenerativeAugment(generator=generator, gate=gate, prob=1.0, mode="sample", image_order="CHW")
    given = batch_of(6)
    made = augment(given)
    assert made["image"].device == torch.device("cuda:0")
    assert grader.devices == {torch.device("cuda:0")}
    assert len(made["image_generated"]) == 6
    for real, image, record in zip(given["image"], made["image"], made["image_generated"], strict=True):
        assert torch.equal(real, image) == (not record)
        assert not record or json.loads(record)["mode"] == "sample"
    edited = gate.check(made["image"], [2] * 6, originals=given["image"])
    assert set(edited.measures[0]) >= {"probability", "vessel_loss", "outside_change"}


def test_a_training_takes_generated_images(generator: RetinaGenerator) -> None:
    network = FundusGrader(backbone="vgg16", width=0.125).cuda().to(memory_format=torch.channels_last)
    trainer = SupervisedTrainer(
        device=torch.device("cuda:0"),
        max_epochs=2,
        train_data_loader=DataLoader(Dataset(PhantomDataset(length=16, size=64, seed=1)), batch_size=8),
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), 1e-3),
        loss_function=nn.CrossEntropyLoss(),
        inferer=AutocastInferer(),
        prepare_batch=GenerativePrepareBatch(
            {"generator": generator, "prob": 1.0, "mode": "sample", "image_order": "CHW"}, PrepareGradingBatch()
        ),
        decollate=False,
    )
    trainer.run()
    assert torch.isfinite(torch.as_tensor(trainer.state.output["loss"]))
