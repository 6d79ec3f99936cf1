"""Checks of a bundle's network: shapes in and out as MONAI's verifier asks, and exports that give the same."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from monai.bundle import ckpt_export, verify_net_in_out
from torch import Tensor

from monai_retina_gen.weights import CHECKPOINT, load_network, read_metadata

TOLERANCE = 1e-4
SIDE = 64
"""Side of the inputs, in pixels, where the metadata leaves it open."""


def check_network_in_out(bundle: Path) -> list[str]:
    """MONAI's `verify_net_in_out` on `network_def`, without exemption."""
    configs = bundle / "configs"
    try:
        with quiet():
            verify_net_in_out(
                net_id="network_def",
                meta_file=str(configs / "metadata.json"),
                config_file=str(configs / "inference.json"),
                n=2,
                device="cpu",
            )
    except ValueError as error:
        return [f"verify_net_in_out: {error}"]
    return []


def check_scripting(bundle: Path) -> list[str]:
    """MONAI's `ckpt_export` as its zoo runs it, by scripting: TorchScript that gives what the network gives."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.ts"
        ckpt_export(
            net_id="network_def",
            filepath=str(path),
            ckpt_file=str(bundle / CHECKPOINT),
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "inference.json"),
            bundle_root=str(bundle),
        )
        scripted = torch.jit.load(str(path))
    with torch.jit.optimized_execution(False):  # optimising takes longer than the two passes
        return _difference("TorchScript", scripted, bundle, (1, 2))


def check_export(bundle: Path) -> list[str]:
    """`torch.export`, which gives what the network gives."""
    program = torch.export.export(load_network(bundle), (_inputs(bundle, 2),))
    return _difference("torch.export", program.module(), bundle, (2,))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MONAI's commands print and log their arguments: what a check finds is in its result."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def _difference(what: str, exported: torch.nn.Module, bundle: Path, batches: Sequence[int]) -> list[str]:
    network, problems = load_network(bundle), []
    for count in batches:
        inputs = _inputs(bundle, count)
        worst = (exported(inputs) - network(inputs)).abs().max().item()
        if not worst <= TOLERANCE:  # NaN is no match
            problems.append(f"{what} differs from the network by {worst:.2g} in a batch of {count}; want {TOLERANCE:g}")
    return problems


def _inputs(bundle: Path, count: int) -> Tensor:
    """Inputs as the metadata describes them."""
    entry = read_metadata(bundle)["network_data_format"]["inputs"]["image"]
    sides = [side if isinstance(side, int) else SIDE for side in entry["spatial_shape"]]
    return torch.rand(count, entry["num_channels"], *sides, generator=torch.Generator().manual_seed(0))
