"""Cost of the label gate's graders by case: CPU milliseconds an image, segmenter left out.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_gate.py
A sample is judged by all graders of the cross-fitted set; an edit, and the photograph that it was made from, by the one
that never saw the photograph. Images are as large as the networks, so that nothing is resized.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from monai_retina_gen.editing import LabelGate
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.weights import find_bundle, read_inference_config, split_bundle_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graders", default=DEFAULT_GRADERS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name, config_name = split_bundle_name(args.graders)
    config = read_inference_config(find_bundle(name), config_name)
    side, group = int(config["image_size"]), next(iter(config["network_def"]["folds"]))
    gate = LabelGate(graders=args.graders, segmenter=None)
    for batch in (1, 16):
        images, originals = torch.rand(2, batch, 3, side, side)
        grades, groups = [2] * batch, [group] * batch
        cases: dict[str, Callable[[], object]] = {
            "sample": lambda g=grades, x=images: gate.check(x, g),
            "edit": lambda g=grades, x=images, y=originals, z=groups: gate.check(x, g, y, z),
            "edit, photograph judged before": lambda g=grades, x=images, z=groups: gate.probabilities(x, z),
        }
        for what, call in cases.items():
            print(
                f"batch {batch}, {side} px, {what}: {1000 * least(call, args.repeats) / batch:.0f} ms of CPU an image"
            )


def least(call: Callable[[], object], repeats: int) -> float:
    """Fewest CPU seconds of several calls: other work on the machine only adds."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
