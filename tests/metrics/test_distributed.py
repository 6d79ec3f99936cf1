"""Two processes, with unequal shares of the images, give the figures of one."""

from __future__ import annotations

import multiprocessing

import ignite.distributed as idist
import pytest
import torch

from monai_retina_gen.metrics import GradeSensitivity, KernelDistance, QuadraticWeightedKappa
from monai_retina_gen.metrics.lesion_contrast import LesionContrast
from monai_retina_gen.metrics.mask_curve import MaskCurve


def _mean_colour(images):
    return images.mean(dim=(2, 3))


def _metrics_and_batches():
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(11, 3, 16, 16, generator=generator) for _ in range(2)]
    grades = [torch.randint(0, 5, (11,), generator=generator) for _ in range(2)]
    return [
        (QuadraticWeightedKappa(), grades),
        (GradeSensitivity(), grades),
        (KernelDistance(feature_extractor=_mean_colour), images),
        (MaskCurve(structures=["ma", "he", "ex"]), images),
        (LesionContrast(lesions=["ma", "he", "ex"]), [*images, images[1], torch.ones(11, 1, 16, 16)]),
    ]


def _figures(first: int, last: int) -> list:
    figures = []
    for metric, parts in _metrics_and_batches():
        metric.update(tuple(part[first:last] for part in parts))
        figures.append(metric.compute())
    return figures


def _run_process(rank: int, store: str, queue) -> None:
    torch.set_num_threads(1)  # thread pools do not survive a fork
    idist.initialize("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    queue.put((rank, _figures(*[(0, 4), (4, 11)][rank])))
    metric = KernelDistance(feature_extractor=_mean_colour)
    if rank == 0:  # a process without a batch must neither fail nor keep the other waiting
        images = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        metric.update((images[:6], images[6:]))
    queue.put((rank, metric.compute()))
    idist.finalize()


@pytest.mark.skipif(
    not torch.distributed.is_available() or "fork" not in multiprocessing.get_all_start_methods(),
    reason="needs torch.distributed and fork",
)
def test_two_processes_equal_one(tmp_path):
    single = _figures(0, 11)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [
        context.Process(target=_run_process, args=(rank, str(tmp_path / "store"), queue), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    received = [queue.get(timeout=60) for _ in range(4)]
    figures = dict(item for item in received if isinstance(item[1], list))
    assert len({value for _, value in received if not isinstance(value, list)}) == 1
    for process in processes:
        process.join(timeout=60)
    for rank in range(2):
        for value, truth in zip(figures[rank], single, strict=True):
            assert value == pytest.approx(truth, nan_ok=True)
