"""A training in a process of its own, to be killed: `resume_run.py FOLDER EPOCHS [--resume] [--die N]`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.transforms import RandFlipd

from monai_retina_gen.data import ResumableSampler, SeededDataset
from monai_retina_gen.engines import AlternatingTrainer, DiscriminatorAugment, PrepareAdversarialBatch
from monai_retina_gen.handlers import AdaptiveAugmentHandler, GeneratorEMAHandler
from monai_retina_gen.losses import GradientPenalty, NonSaturatingLoss, R1Penalty
from monai_retina_gen.networks import ResidualCritic, ResidualGenerator
from monai_retina_gen.weights import latest_checkpoint


def main() -> None:
    folder, epochs = sys.argv[1], int(sys.argv[2])
    resume = "--resume" in sys.argv
    die = int(sys.argv[sys.argv.index("--die") + 1]) if "--die" in sys.argv else 0
    torch.set_num_threads(1)
    torch.manual_seed(99 if resume else 0)  # what was drawn before a run must not matter to a resumed one
    small: dict[str, Any] = {"image_size": 16, "channels": (8, 8, 8)}
    generator, ema = ResidualGenerator(latent_dim=4, **small), ResidualGenerator(latent_dim=4, **small)
    critic, augment = ResidualCritic(**small), DiscriminatorAugment(operations="all", p=0.5)
    images = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    items = [{"image": image, "grade": i % 5} for i, image in enumerate(images)]
    data = SeededDataset(CacheDataset(items, progress=False), RandFlipd(keys="image", prob=0.5, spatial_axis=1))
    optimizers = [torch.optim.Adam(n.parameters(), 1e-3, betas=(0.0, 0.9)) for n in (generator, critic)]
    trainer = AlternatingTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(data, batch_size=4, sampler=ResumableSampler(data, batch_size=4, seed=7)),
        generator=generator,
        discriminator=critic,
        g_optimizer=optimizers[0],
        d_optimizer=optimizers[1],
        loss=NonSaturatingLoss(),
        n_critic=2,
        penalties=[GradientPenalty(), R1Penalty(interval=3)],
        augment=augment,
        prepare_batch=PrepareAdversarialBatch(drop_grade=0.2),
        seed=5,
        train_handlers=[
            GeneratorEMAHandler(generator=generator, ema=ema, half_life=20),
            AdaptiveAugmentHandler(augment=augment, images=100),
        ],
    )
    networks = {"generator": generator, "critic": critic, "ema": ema, "augment": augment}
    state = {**networks, "g": optimizers[0], "d": optimizers[1], "trainer": trainer}
    CheckpointSaver(
        save_dir=folder, save_dict=state, save_interval=2, epoch_level=False, n_saved=2, file_prefix="state"
    ).attach(trainer)
    if resume:
        CheckpointLoader(load_path=latest_checkpoint(folder), load_dict=state, strict=True).attach(trainer)
    if die:
        # in the middle of an iteration, before its checkpoint
        trainer.add_event_handler(Events.ITERATION_STARTED(once=die), lambda: os.kill(os.getpid(), signal.SIGKILL))
    trainer.run()
    torch.save({k: v.state_dict() for k, v in state.items()}, os.path.join(folder, "end.pt"))


if __name__ == "__main__":
    main()
