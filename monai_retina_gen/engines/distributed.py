"""Several processes, of one training or of one command.

A training has no wrapper around its networks: the same weights at the start, then averaged gradients.
`DistributedDataParallel` expects one backward pass a step through all parameters. Critics, penalties and generators
take several partial ones; averaging the gradients by hand before the optimiser covers them all.

A command is started with `torchrun`: each process does its share, and the files are those of one.

    torchrun --nproc_per_node=4 -m monai_retina_gen expand ...

Pieces of work go round by index, so that every batch is the same batch as alone, and what there is only one of
(settings, datalist, manifest, figures) the first process makes when all are done. Nothing that travels between the
processes lies on a GPU: they talk by gloo, whatever the networks run on. Without `torchrun`, or in a program that has
begun a process group of its own, all that is the plain loop of one process.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

Row = TypeVar("Row")
Result = TypeVar("Result")
Run = Callable[[argparse.Namespace], Result]

PATIENCE = timedelta(days=30)  # a share may take hours; a process that ends is noticed at once
GRACE = 1.0  # seconds that the process which failed first has for its error before the launcher ends all
_started = itertools.count()
_together = False


def world() -> tuple[int, int]:
    """`(rank, number of processes)`; `(0, 1)` where none were started together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


@torch.no_grad()
def broadcast_state(*networks: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    if world()[1] == 1:
        return
    for network in networks:
        for tensor in [*network.parameters(), *network.buffers()]:
            dist.broadcast(tensor.data, src=0)


def average_buffers(network: nn.Module) -> None:
    """Average the buffers with fractions over all processes: a running mean is then that of the joined batch."""
    _average([b for b in network.buffers() if b.is_floating_point()])


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average gradients over all processes, in one message; parameters without a gradient anywhere keep none."""
    _average([p.grad for p in parameters if p.grad is not None])


@torch.no_grad()
def _average(tensors: list[Tensor]) -> None:
    if world()[1] == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world()[1]
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def repeatable(function: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """The function with the random numbers of its first call in all later ones.

    The first call draws from torch's global random states, of the CPU and of `device`, as the function itself would;
    later ones leave them alone.
    """
    if isinstance(function, nn.Identity):
        return function
    states: list[Tensor] = []
    cuda = [device] if device.type == "cuda" else []

    def call(images: Tensor) -> Tensor:
        if not states:
            states.extend([torch.get_rng_state(), *(torch.cuda.get_rng_state(each) for each in cuda)])
            return function(images)
        with torch.random.fork_rng(devices=cuda):
            torch.set_rng_state(states[0])
            for each, state in zip(cuda, states[1:], strict=True):
                torch.cuda.set_rng_state(state, each)
            return function(images)

    return call


def seed_of(*numbers: int) -> int:
    """One seed of several whole numbers, such as a run's seed, an iteration and a process."""
    seed = 0
    for number in numbers:
        seed = (seed * 6_364_136_223_846_793_005 + number + 1_442_695_040_888_963_407) % 2**63
    return seed


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the CPU and this device alone: `torch.manual_seed` formats a stack for every device that is not in use."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def in_all_processes(run: Run[Result]) -> Run[Result]:
    """Decorator of a command's `run`: under `torchrun` the processes know each other while it runs.

    Then `--device cuda` is the GPU of its number for each process, the first process alone prints and logs, and an
    error in any of them ends all and is shown once.
    """

    @functools.wraps(run)
    def shared(args: argparse.Namespace) -> Result:
        if not _launched():
            return run(args)
        with _process_group(), _silence():
            args.device = _own_device(args.device)
            return run(args)

    return shared


def is_first() -> bool:
    """Whether this is the process that prints and writes what there is only one of."""
    return _place()[0] == 0


def own_share(rows: Sequence[Row]) -> Sequence[Row]:
    """Every N-th row for each of N processes; all rows alone."""
    rank, size = _place()
    return rows[rank::size]


def shared_map(function: Callable[[Row], Result], rows: Sequence[Row], **bar: Any) -> list[Result]:
    """Results for all rows, in their order and in every process; each computes its share.

    The rows are the same in all processes, and a result must not depend on rows before it. `bar`: options of `tqdm`.

    Examples:
        >>> shared_map(lambda row: row**2, [1, 2, 3], disable=True)
        [1, 4, 9]
    """
    _, size = _place()
    own = [function(row) for row in tqdm(own_share(rows), **{"leave": False, "disable": not is_first(), **bar})]
    if size == 1:
        return own
    shares: list[Any] = [None] * size
    with _others_may_end():
        dist.all_gather_object(shares, own)
    return [shares[i % size][i // size] for i in range(len(rows))]


def by_first(function: Callable[[], Result]) -> Result:
    """The result of a function that the first process calls, once all have come so far."""
    if _place()[1] == 1:
        return function()
    with _others_may_end():
        dist.barrier()
    result = [function() if is_first() else None]
    with _others_may_end():
        dist.broadcast_object_list(result)
    return result[0]  # type: ignore[return-value]


def _place() -> tuple[int, int]:
    """`(rank, number of processes)`, only while a command shares its work: a caller's own group is not ours."""
    return world() if _together else (0, 1)


def _launched() -> bool:
    if not dist.is_available() or dist.is_initialized() or not dist.is_torchelastic_launched():
        return False
    return int(os.environ["WORLD_SIZE"]) > 1


@contextlib.contextmanager
def _process_group() -> Iterator[None]:
    global _together
    store, rank, size = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"monai_retina_gen {next(_started)}", store)  # a second command finds no old addresses
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)
    dist.barrier()  # none may fail, and end, while another is still being connected to it
    _together = True
    try:
        yield
    except BaseException:
        if store.add("failed", 1) > 1:  # another process has failed before, and says why
            time.sleep(GRACE)
            raise SystemExit(2) from None
        raise
    finally:
        _together = False
        dist.destroy_process_group()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """All but the first process say nothing but their errors: what they have to say concerns the whole command."""
    if is_first():
        yield
        return
    logging.disable(logging.WARNING)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _others_may_end() -> Iterator[None]:
    """A process that waits is told when another one is gone."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            "another process of this command has ended; the launcher says below which one, and how. Start the same "
            "command again to go on where it stopped"
        ) from error


def _own_device(device: str) -> str:
    if device != "cuda":
        return device
    number, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= count:
        raise ValueError(f"--device cuda: process {number} has no GPU, of {count}; lower --nproc_per_node to that")
    torch.cuda.set_device(number)
    return f"cuda:{number}"
