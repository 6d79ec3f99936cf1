"""What `AlternatingTrainer` costs beyond its steps: against a loop with the same steps and random numbers, in turns.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_engine.py

Tiny networks show the overhead in microseconds; it is then set against a real step of retina_wgan_gp at 64 px.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.engines import AlternatingTrainer, PrepareAdversarialBatch
from monai_retina_gen.losses import GradientPenalty, WassersteinLoss
from monai_retina_gen.networks import ResidualCritic, ResidualGenerator


class _Generator(nn.Linear):
    latent_dim, latent_distribution = 8, "normal"

    def forward(self, latent: Tensor, grade: Tensor) -> Tensor:
        return super().forward(latent).view(-1, 3, 2, 2)


class _Critic(nn.Linear):
    def forward(self, image: Tensor, grade: Tensor) -> Tensor:
        return super().forward(image.flatten(1)).squeeze(1)


def _hand(generator: Any, critic: Any, optimizers: Any, batches: list[dict[str, Tensor]], amp: bool) -> None:
    """The steps of WGAN-GP without an engine: what the engine's overhead is counted against."""
    g_optimizer, d_optimizer = optimizers
    for i, batch in enumerate(batches, start=1):
        real, grade = batch["image"] * 2 - 1, batch["grade"]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=amp):
            fake = generator(torch.randn(len(real), generator.latent_dim), grade).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            real_scores, fake_scores = critic(real, grade).float(), critic(fake, grade).float()
        mix = torch.rand(len(real))[:, None, None, None]
        between = (mix * real + (1 - mix) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between, grade).sum(), between, create_graph=True)
        penalty = 10 * ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
        d_optimizer.zero_grad(set_to_none=True)
        (fake_scores.mean() - real_scores.mean() + penalty).backward()
        d_optimizer.step()
        if i % 2 == 0:
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                fake = generator(torch.randn(len(real), generator.latent_dim), grade).float()
                score = critic(fake, grade).float()
            g_optimizer.zero_grad(set_to_none=True)
            (-score.mean()).backward()
            g_optimizer.step()


def _seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(make: Callable[[], tuple[Any, Any]], size: int, batch: int, iterations: int, rounds: int, amp: bool) -> Any:
    """CPU seconds of an iteration by engine and by hand, median over rounds that alternate."""
    grade = torch.arange(batch) % 5
    batches = [{"image": torch.rand(batch, 3, size, size), "grade": grade} for _ in range(min(iterations, 50))]
    batches = (batches * (iterations // len(batches) + 1))[:iterations]
    generator, critic = make()
    optimizers = [torch.optim.Adam(n.parameters(), 1e-4, betas=(0.0, 0.9)) for n in (generator, critic)]
    times: dict[str, list[float]] = {"engine": [], "hand": []}
    for _ in range(rounds + 1):
        trainer = AlternatingTrainer(
            device="cpu",
            max_epochs=1,
            train_data_loader=batches,
            epoch_length=iterations,
            generator=generator,
            discriminator=critic,
            g_optimizer=optimizers[0],
            d_optimizer=optimizers[1],
            loss=WassersteinLoss(),
            n_critic=2,
            penalties=[GradientPenalty()],
            prepare_batch=PrepareAdversarialBatch(),
            amp=amp,
        )
        times["engine"].append(_seconds(trainer.run))
        times["hand"].append(_seconds(lambda: _hand(generator, critic, optimizers, batches, amp)))
    return {k: statistics.median(v[1:]) / iterations for k, v in times.items()}  # the first round warms up


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    tiny = measure(lambda: (_Generator(8, 12), _Critic(12, 1)), 2, 4, args.iterations, args.rounds, False)
    real = measure(lambda: (ResidualGenerator(image_size=64), ResidualCritic(image_size=64)), 64, 16, 10, 2, True)
    overhead = tiny["engine"] - tiny["hand"]
    print(
        json.dumps(
            {
                "overhead_microseconds": round(overhead * 1e6),
                "tiny": tiny,
                "retina_wgan_gp_64px_batch16": real,
                "share_of_a_real_step": overhead / real["hand"],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
