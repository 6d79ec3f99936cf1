"""Cost of composing masks: CPU milliseconds a set, by grade, and of building and loading the bank.

Run: python tests/benchmarks/bench_masks.py --bank lesions.npz --size 256
Vessels, disc and field of view are a phantom's; the bank is what `lesion-bank` wrote.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from monai_retina_gen.data import LesionBank, MaskComposer, phantom_fundus


def milliseconds(composer: MaskComposer, size: int, grade: int, repeats: int) -> list[float]:
    masks, times = phantom_fundus(0, grade=0, size=size).masks, []
    for seed in range(repeats + 3):
        started = time.process_time()
        composer.compose(masks, grade, seed=seed)
        times.append(1e3 * (time.process_time() - started))
    return times[3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    bank = LesionBank.load(args.bank)
    composer = MaskComposer(bank)
    print(f"bank of {len(bank)} eyes, {len(bank.eye)} pieces: loaded in {time.process_time() - started:.2f} s of CPU")
    for grade in composer.grades:
        times = milliseconds(composer, args.size, grade, args.repeats)
        print(f"grade {grade}, {args.size} px: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")


if __name__ == "__main__":
    main()
