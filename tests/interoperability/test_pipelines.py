"""Our transforms in others' pipelines: MONAI's 2-D classification tutorial, plain PyTorch, workflows, handlers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow, create_workflow
from monai.data import CacheDataset, DataLoader, Dataset, decollate_batch
from monai.engines import SupervisedTrainer
from monai.handlers import MLFlowHandler, StatsHandler, TensorBoardStatsHandler
from monai.networks.nets import DenseNet121
from monai.transforms import (
    Activations,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandFlipd,
    RandRotated,
    RandZoomd,
    ScaleIntensityRanged,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from monai_retina_gen.data import load_datalist
from monai_retina_gen.transforms import (
    BatchGenerativeAugment,
    CropToFieldOfViewd,
    GenerativeAugmentd,
    GenerativePrepareBatch,
    LoadFundusd,
)


@pytest.fixture
def items(phantom_folder: Path) -> list[dict[str, object]]:
    return load_datalist(phantom_folder / "datalist.json")["training"][:8]


class Grader(nn.Module):
    """A network of a few weights: what learns is not what is tested."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(images)
        return scores


def test_the_transforms_of_monais_classification_tutorial(items: list[dict[str, object]], vae_bundle: Path) -> None:
    """`LoadImaged` as it comes, (C, W, H) in 0-255: one line is dropped in, which says the order of the axes."""
    train_transforms = Compose(
        [
            LoadImaged(keys="image", image_only=True),
            EnsureChannelFirstd(keys="image"),
            ScaleIntensityRanged(keys="image", a_min=0, a_max=255, b_min=0, b_max=1),
            GenerativeAugmentd(
                keys="image", label_key="grade", generator=vae_bundle, mode="sample", prob=0.5, image_order="CWH"
            ),
            RandRotated(keys="image", range_x=0.2, prob=0.5, keep_size=True),
            RandFlipd(keys="image", spatial_axis=0, prob=0.5),
            RandZoomd(keys="image", min_zoom=0.9, max_zoom=1.1, prob=0.5),
        ]
    ).set_random_state(0)
    loader = DataLoader(Dataset(items, train_transforms), batch_size=4)
    batches = list(loader)
    assert [tuple(batch["image"].shape) for batch in batches] == [(4, 3, 64, 64)] * 2
    made = [bool(record) for batch in batches for record in batch["image_generated"]]
    assert 0 < sum(made) < 8
    assert torch.cat([batch["grade"] for batch in batches]).tolist() == [item["grade"] for item in items]
    network = DenseNet121(spatial_dims=2, in_channels=3, out_channels=5, init_features=8, growth_rate=4)
    scores = network(torch.as_tensor(batches[0]["image"]))
    probabilities = [Activations(softmax=True)(score) for score in decollate_batch(scores)]
    assert all(abs(float(p.sum()) - 1) < 1e-5 for p in probabilities)


def test_a_plain_pytorch_loop_by_the_batch_form(items: list[dict[str, object]], vae_bundle: Path) -> None:
    """No engine, one line between loader and network; in Lightning it stands in `on_after_batch_transfer`."""
    load = Compose([LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=64)])
    loader = torch.utils.data.DataLoader([load(item) for item in items], batch_size=4, collate_fn=_collate)
    augment = BatchGenerativeAugment(generator=vae_bundle, prob=0.5, mode="sample", image_order="CHW")
    augment.set_random_state(0)
    network, made = Grader(), 0
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for batch in loader:
        augmented = augment(batch)
        made += sum(map(bool, augmented["image_generated"]))
        loss = nn.functional.cross_entropy(network(augmented["image"]), augmented["grade"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert loss.isfinite()
    assert 0 < made < 8


def _collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    images = torch.stack([item["image"].as_tensor() for item in items])  # type: ignore[attr-defined]
    return {"image": images, "grade": torch.tensor([int(item["grade"]) for item in items])}


def _loss(output: dict[str, float]) -> float:
    return output["loss"]


def _trainer(items: list[dict[str, object]], bundle: Path, handlers: list[object]) -> SupervisedTrainer:
    load = Compose([LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=64)])
    network = Grader()
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=DataLoader(CacheDataset(items, load, progress=False), batch_size=4),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=nn.CrossEntropyLoss(),
        prepare_batch=GenerativePrepareBatch(
            prepare_batch=lambda batch, device, non_blocking, **_: (batch["image"], batch["grade"]),
            augment=BatchGenerativeAugment(generator=bundle, prob=0.5, mode="sample", image_order="CHW"),
        ),
        train_handlers=handlers,
        decollate=False,
    )


def test_tensorboard_and_stats_handlers(items: list[dict[str, object]], vae_bundle: Path, tmp_path: Path) -> None:
    board = TensorBoardStatsHandler(log_dir=str(tmp_path / "board"), tag_name="loss", output_transform=_loss)
    stats = StatsHandler(tag_name="loss", output_transform=_loss)
    trainer = _trainer(items, vae_bundle, [board, stats])
    trainer.run()
    board.close()
    assert trainer.state.iteration == 4
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


def test_mlflow_handler(items: list[dict[str, object]], vae_bundle: Path, tmp_path: Path) -> None:
    """Against a store in a file, without a server; the losses of all iterations arrive."""
    for name in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(name, reason="neither mlflow is installed, nor mlflow-skinny, sqlalchemy and alembic")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"  # MONAI's handler refuses folders, which MLflow has given up
    handler = MLFlowHandler(tracking_uri=uri, experiment_name="grades", output_transform=_loss, close_on_complete=True)
    _trainer(items, vae_bundle, [handler]).run()
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("grades").experiment_id])
    history = client.get_metric_history(run.info.run_id, "Loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
    assert all(0 < metric.value < 100 for metric in history)


def test_lightning_by_the_batch_form(items: list[dict[str, object]], vae_bundle: Path, tmp_path: Path) -> None:
    """In `on_after_batch_transfer`, in training alone: batches keep their size, validation sees photographs."""
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    made: dict[str, list[bool]] = {"training": [], "validation": []}

    class GraderModule(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = Grader()
            self.augment = BatchGenerativeAugment(generator=vae_bundle, prob=0.5, mode="sample", image_order="CHW")
            self.augment.set_random_state(0)

        def on_after_batch_transfer(self, batch: dict[str, torch.Tensor], _: int) -> dict[str, torch.Tensor]:
            return self.augment(batch) if self.trainer.training else batch

        def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
            return self._loss(batch, "training")

        def validation_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
            return self._loss(batch, "validation")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def _loss(self, batch: dict[str, torch.Tensor], part: str) -> torch.Tensor:
            assert batch["image"].shape == (4, 3, 64, 64)
            made[part] += map(bool, batch.get("image_generated", [""] * 4))
            return nn.functional.cross_entropy(self.network(batch["image"]), batch["grade"])

    load = Compose([LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=64)])
    loader = torch.utils.data.DataLoader([load(item) for item in items], batch_size=4, collate_fn=_collate)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    module = GraderModule()
    before = module.network.layers[2].weight.detach().clone()
    trainer.fit(module, loader, loader)
    assert trainer.global_step == 4
    assert 0 < sum(made["training"]) < 16 == len(made["training"])
    assert made["validation"] == [False] * 16
    assert not torch.equal(before, module.network.layers[2].weight)


def test_a_bundle_as_a_workflow_in_python(bundles_dir: Path, phantom_folder: Path, tmp_path: Path) -> None:
    """`create_workflow` gives MONAI's `ConfigWorkflow` with its properties; one event more, and it runs."""
    bundle = bundles_dir / "retina_wgan_gp"
    workflow = create_workflow(
        config_file=str(bundle / "configs" / "inference.json"),
        workflow_type="inference",
        bundle_root=str(bundle),
        output_dir=str(tmp_path / "made"),
        num_samples=1,
        device="cpu",
        logging_file=False,
    )
    assert isinstance(workflow, ConfigWorkflow)
    seen: list[int] = []

    def count(engine: Engine) -> None:
        seen.append(len(engine.state.batch["grade"]))

    workflow.evaluator.add_event_handler(Events.ITERATION_COMPLETED, count)
    workflow.run()
    assert sum(seen) == len(list((tmp_path / "made").glob("**/*.png"))) == 5
