"""Time of segmenting a photograph, against the obvious way: MONAI's sliding windows of the training crops, each flip.

python tests/benchmarks/bench_segmentation.py --threads 2 --repeats 5
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.engines import load_segmenter

CROP = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    image = phantom_fundus(0, size=args.size, grade=3).image[None].to(args.device)
    plain = load_segmenter(device=args.device, flips=False).network.to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def baseline() -> Tensor:
        total = torch.zeros((), device=image.device)
        for axes in ((), (-1,), (-2,), (-2, -1)):
            logits = sliding_window_inference(image.flip(axes), (CROP, CROP), 4, plain, overlap=0.25, mode="gaussian")
            total = total + torch.sigmoid(torch.as_tensor(logits)).flip(axes)
        return total / 4

    with_flips = load_segmenter(device=args.device, amp=args.amp)
    without = load_segmenter(device=args.device, flips=False, amp=args.amp)
    runs: dict[str, Callable[[], object]] = {
        "one window, no flips": lambda: without.masks(image),
        "one window, four flips": lambda: with_flips.masks(image),
        "baseline: windows of 256, four flips": baseline,
    }
    for run in runs.values():
        run()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(args.repeats):  # in turns: other work on the machine then slows all alike
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if args.device != "cpu":
                torch.cuda.synchronize()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    for name, found in times.items():
        wall, cpu = (sorted(column)[len(found) // 2] for column in zip(*found, strict=True))
        print(f"{name}: median {wall:.2f} s wall, {cpu:.2f} s CPU, {1 / wall:.1f} photographs a second")


if __name__ == "__main__":
    main()
