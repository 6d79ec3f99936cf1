"""Cost of edits by painting: seconds a photograph, with its masks given, with the segmenter, and seen before.

Run: OMP_NUM_THREADS=2 python tests/benchmarks/bench_painting.py --threads 2
Photographs are drawn eyes with the anatomy of one and lesions of grade 3; what a painting costs does not depend on what
it shows. Cases are measured in turns, so that other work on the machine slows all alike; CPU seconds besides.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.generators import DRGANGenerator, LesionPainterGenerator, load_generator

MASKS = ("fov", "od", "vessel", "ma", "he", "ex", "se")


def eyes(count: int, size: int, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    drawn = [phantom_fundus(i, size=size, grade=3) for i in range(count)]
    masks = {key: torch.stack([eye.masks[key].float() for eye in drawn]).to(device) for key in MASKS}
    return torch.stack([eye.image for eye in drawn]).to(device), masks


def measured(cases: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, tuple[float, float]]:
    """Smallest wall and CPU seconds, after one turn that loads what is loaded at first use."""
    best = dict.fromkeys(cases, (float("inf"), float("inf")))
    for turn in range(repeats + 1):
        for name, case in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn:
                found = time.perf_counter() - wall, time.process_time() - cpu
                best[name] = min(best[name][0], found[0]), min(best[name][1], found[1])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", default="retina_lesion_painter")
    parser.add_argument("--size", type=int, default=256, help="side of the photographs")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = load_generator(args.generator, device=args.device)
    assert isinstance(generator, (DRGANGenerator, LesionPainterGenerator))
    images, masks = eyes(args.batch, args.size, args.device)
    seeds = iter(range(10**6))

    def edit(given: dict[str, Tensor] | None, *, known: bool) -> None:
        assert generator.own_masks is not None
        if not known:
            generator.own_masks.cache.clear()
        generator.edit(images, [3] * args.batch, seeds=[next(seeds) for _ in images], masks=given)

    cases: dict[str, Callable[[], object]] = {
        "new photograph, masks given": lambda: edit(masks, known=False),
        "new photograph, masks by the segmenter": lambda: edit(None, known=False),
        "photograph seen before": lambda: edit(None, known=True),
    }
    for name, (wall, cpu) in measured(cases, args.repeats, args.device).items():
        each = f"{wall / args.batch:.3f} s wall, {cpu / args.batch:.3f} s CPU an edit"
        print(f"{args.size} px, {name}: {each}", flush=True)


if __name__ == "__main__":
    assert Path("tests").is_dir(), "run it from the repository's root"
    main()
