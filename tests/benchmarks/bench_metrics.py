"""Time and peak memory of the metrics: `python tests/benchmarks/bench_metrics.py [case ...] [--threads 2]`.

Each case runs in its own process, so that its peak memory is its own; ratios are of one run on one machine.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch

Row = tuple[str, float, float]


def _timed(label: str, function: Callable[[], object]) -> Row:
    """Wall seconds and CPU seconds of all threads: the latter hardly depend on what else the machine does."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return label, time.perf_counter() - wall, time.process_time() - cpu


def _features(n: int, d: int = 2048) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator) + 0.1


def fid() -> list[Row]:
    """2 x (1000 x 2048) features: ours against MONAI's `FIDMetric`."""
    from monai.metrics import FIDMetric

    from monai_retina_gen.metrics.kernel import frechet_distance

    real, generated = _features(1000)
    frechet_distance(real[:50], generated[:50])  # the first call loads the linear algebra library
    values = {}
    rows = [
        _timed("ours", lambda: values.update(ours=frechet_distance(real, generated))),
        _timed("MONAI FIDMetric", lambda: values.update(monai=FIDMetric()(generated.double(), real.double()))),
    ]
    rows.append(("times as fast", rows[1][1] / rows[0][1], rows[1][2] / rows[0][2]))
    assert abs(float(values["ours"]) / float(values["monai"]) - 1) < 1e-6
    return rows


def fid_tall() -> list[Row]:
    """2 x (10,000 x 2048) features, more rows than columns."""
    from monai_retina_gen.metrics.kernel import frechet_distance

    sets = _features(10_000)
    return [_timed("frechet_distance", lambda: frechet_distance(*sets))]


def kid() -> list[Row]:
    """2 x (1000 x 2048) features: the unbiased estimate, and 1000 permutations."""
    from monai_retina_gen.metrics import kernel_permutation_p_value
    from monai_retina_gen.metrics.kernel import kernel_distance

    sets = _features(1000)
    return [
        _timed("estimate", lambda: kernel_distance(*sets)),
        _timed("permutation test", lambda: kernel_permutation_p_value(*sets)),
    ]


def manifold() -> list[Row]:
    """2 x (10,000 x 2048) features."""
    from monai_retina_gen.metrics import realism_score
    from monai_retina_gen.metrics.manifold import density_coverage, precision_recall

    sets = _features(10_000)
    return [
        _timed(function.__name__, lambda function=function: function(*sets))
        for function in (precision_recall, density_coverage, realism_score)
    ]


def swd_2000() -> list[Row]:
    """2 x 2,000 images of 128 pixels, 4 levels, 128 patches an image, all 512 directions."""
    return _swd(2_000)


def swd_4000() -> list[Row]:
    """2 x 4,000 images, otherwise the same."""
    return _swd(4_000)


def swd_10000() -> list[Row]:
    """2 x 10,000 images, otherwise the same."""
    return _swd(10_000)


def _swd(count: int) -> list[Row]:
    from monai_retina_gen.metrics import sliced_wasserstein_distance

    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, 128, 128)
    real, generated = (torch.randint(256, shape, dtype=torch.uint8, generator=generator) for _ in range(2))
    return [_timed("512 directions", lambda: sliced_wasserstein_distance(real, generated))]


CASES = {case.__name__: case for case in (fid, fid_tall, kid, manifold, swd_2000, swd_4000, swd_10000)}


def _run_here(name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    import monai.metrics  # noqa: F401

    import monai_retina_gen.metrics  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\n{name}: {CASES[name].__doc__}")
    for label, wall, cpu in CASES[name]():
        print(f"  {label:24s} {wall:12.2f} {cpu:12.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  {'peak RSS, MiB':24s} {peak / 1024:12.0f}  ({before / 1024:.0f} after the imports)", flush=True)


def main() -> None:
    """Run the cases named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", action="store_true", help="run the one case in this process")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}: choose from {', '.join(CASES)}")
    if options.here:
        return _run_here(options.cases[0], options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads; columns: wall seconds, CPU seconds", flush=True)
    for case in options.cases or CASES:
        command = [sys.executable, __file__, case, "--here", "--threads", str(options.threads)]
        subprocess.run(command, check=True)
    return None


if __name__ == "__main__":
    main()
