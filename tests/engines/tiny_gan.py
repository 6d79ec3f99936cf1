"""Tiny networks and data for the adversarial trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from monai_retina_gen.data import ResumableSampler
from monai_retina_gen.engines import AlternatingTrainer, PrepareAdversarialBatch
from monai_retina_gen.losses import GradientPenalty, WassersteinLoss


class TinyGenerator(nn.Module):
    """Latent and grade to a 4 px image in [-1, 1]; `coarse` and `fine` for phases."""

    latent_dim, latent_distribution = 3, "normal"
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.fine = nn.Linear(3 + 1, 16), nn.Linear(16, 3 * 16)
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, latent: Tensor, grade: Tensor, update_averages: bool = False) -> Tensor:
        hidden = torch.relu(self.coarse(torch.cat([latent, grade[:, None].float()], dim=1)))
        if update_averages:
            self.mean.lerp_(hidden.detach().float().mean(0), 0.1)
        return torch.tanh(self.fine(hidden)).view(-1, 3, 4, 4)


class TinyCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, image: Tensor, grade: Tensor) -> Tensor:
        return self.layers(image).squeeze(1) + 0.1 * grade


class Photographs(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, count: int = 12) -> None:
        self.images = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, seed = key
        noise = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(seed))
        return {"image": 0.9 * self.images[index] + 0.1 * noise, "grade": index % 5}


def make_trainer(batch_size: int = 4, **options: Any) -> AlternatingTrainer:
    """WGAN-GP of the tiny networks, always from the same weights."""
    torch.manual_seed(0)
    generator, critic = TinyGenerator(), TinyCritic()
    data = Photographs()
    sampler = ResumableSampler(data, batch_size=batch_size, seed=2)
    settings: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 2,
        "train_data_loader": DataLoader(data, batch_size=batch_size, sampler=sampler),
        "generator": generator,
        "discriminator": critic,
        "g_optimizer": torch.optim.Adam(generator.parameters(), 1e-2, betas=(0.0, 0.9)),
        "d_optimizer": torch.optim.Adam(critic.parameters(), 1e-2, betas=(0.0, 0.9)),
        "loss": WassersteinLoss(),
        "n_critic": 2,
        "penalties": [GradientPenalty()],
        "d_step_options": {"update_averages": True},
        "prepare_batch": PrepareAdversarialBatch(),
        "seed": 3,
    }
    return AlternatingTrainer(**(settings | options))
