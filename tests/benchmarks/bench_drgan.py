"""Time and memory of DR-GAN: forward at 256, 512 and 1280 px, forward and backward at 1280.

Each case runs in a process of its own, so that its peak memory is its own. 1280 px has two stages, the others one.

python tests/benchmarks/bench_drgan.py --base-width 24 --train-width 24
python tests/benchmarks/bench_drgan.py --base-width 64 --train-width 64 --device cuda --amp
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

import torch

from monai_retina_gen.networks import DRGAN, MultiScaleDiscriminator

CASES = (
    {"size": 128, "stages": 1, "backward": False},
    {"size": 256, "stages": 1, "backward": False},
    {"size": 512, "stages": 1, "backward": False},
    {"size": 1280, "stages": 2, "backward": False},
    {"size": 1280, "stages": 2, "backward": True},
    {"size": 1280, "stages": 2, "backward": True, "checkpointing": True},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-width", type=int, default=24, help="of the forward passes")
    parser.add_argument("--train-width", type=int, default=24, help="of the passes with a backward pass")
    parser.add_argument("--repeats", type=int, default=3, help="of the forward passes; the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", type=int, nargs="+", default=range(len(CASES)), help="which of CASES, from 0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", action="store_true", help="bfloat16")
    args = parser.parse_args()
    for case in (CASES[index] for index in args.cases):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(measure, (case, vars(args) | {"cases": None})), flush=True)


def measure(case: dict[str, Any], args: dict[str, Any]) -> str:
    """Run one case; returns a line."""
    torch.set_num_threads(args["threads"])
    torch.manual_seed(0)
    backward, size = case["backward"], case["size"]
    width, device = args["train_width" if backward else "base_width"], args["device"]
    network = DRGAN(
        stages=case["stages"], base_width=width, channel_energy="mean", checkpointing=case.get("checkpointing", False)
    ).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    discriminator = MultiScaleDiscriminator(base_width=width).to(device)
    condition, grade = torch.rand(1, 9, size, size, device=device), torch.tensor([3], device=device)
    before, found = _peak(device), []
    for _ in range(1 if backward else args["repeats"]):
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.set_grad_enabled(backward), torch.autocast(torch.device(device).type, torch.bfloat16, args["amp"]):
            image = network.train(backward)(condition, grade)
            scores = discriminator(image, condition)["score"] if backward else []
        if backward:
            torch.stack([score.float().mean() for score in scores]).sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (sorted(column)[len(found) // 2] for column in zip(*found, strict=True))
    what = "forward and backward, with discriminators" if backward else "forward"
    what += ", checkpointing" if case.get("checkpointing") else ""
    memory = f"peak {_peak(device):.2f} GiB ({before:.2f} before)"
    return f"{size} px, width {width}, {what}: {wall:.2f} s wall, {cpu:.2f} s CPU, {memory}"


def _peak(device: str) -> float:
    """Peak memory so far in GiB: of the process, or of the GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return torch.cuda.max_memory_allocated() / 2**30


if __name__ == "__main__":
    main()
