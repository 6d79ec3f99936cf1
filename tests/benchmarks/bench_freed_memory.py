"""CPU time of a grader's training step before and after `keep_freed_memory`.

Run: python tests/benchmarks/bench_freed_memory.py
EfficientNet-Lite1, 32 images of 224 px, float32, one thread; system time is what page faults cost.
"""

from __future__ import annotations

import resource

import torch

from monai_retina_gen import keep_freed_memory
from monai_retina_gen.networks import FundusGrader


def main(steps: int = 3) -> None:
    """Print a line each."""
    torch.set_num_threads(1)
    network = FundusGrader(backbone="efficientnet_lite1").to(memory_format=torch.channels_last).train()
    images, grades = torch.rand(32, 3, 224, 224), torch.randint(0, 5, (32,))

    def step() -> None:
        torch.nn.functional.cross_entropy(network(images), grades).backward()

    for name in ("before", "after"):
        if name == "after":
            print("took effect:", keep_freed_memory())
        step()
        first = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(steps):
            step()
        last = resource.getrusage(resource.RUSAGE_SELF)
        user, system = (last.ru_utime - first.ru_utime) / steps, (last.ru_stime - first.ru_stime) / steps
        print(f"{name}: {user:.2f} s user, {system:.2f} s system, {last.ru_maxrss / 2**20:.1f} GiB at most", flush=True)


if __name__ == "__main__":
    main()
