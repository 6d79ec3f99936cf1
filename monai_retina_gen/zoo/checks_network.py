"""Checks of a bundle's network: shapes in and out as MONAI's verifier asks, and an export that gives the same."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from monai.bundle import ckpt_export, verify_net_in_out
from torch import Tensor

from monai_retina_gen.weights import CHECKPOINT, load_network, read_metadata

__all__ = ["check_export", "check_network_in_out"]

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


def check_export(bundle: Path) -> list[str]:
    """MONAI's `ckpt_export` by tracing, and `torch.export`: both give what the network gives, at two batch sizes."""
    network = load_network(bundle)
    inputs = _inputs(bundle, 2)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.ts"
        ckpt_export(
            net_id="network_def",
            filepath=str(path),
            ckpt_file=str(bundle / CHECKPOINT),
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "inference.json"),
            key_in_ckpt="",
            use_trace=True,
            input_shape=list(inputs.shape),
        )
        scripted = torch.jit.load(str(path))
        exported = torch.export.export(network, (inputs,)).module()
        problems = _difference("TorchScript", scripted, network, inputs)
        problems += _difference("TorchScript", scripted, network, _inputs(bundle, 3))
        problems += _difference("torch.export", exported, network, inputs)
    return problems


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
def _difference(what: str, exported: torch.nn.Module, network: torch.nn.Module, inputs: Tensor) -> list[str]:
    worst = (exported(inputs) - network(inputs)).abs().max().item()
    if worst <= TOLERANCE:
        return []
    return [f"{what} differs from the network by up to {worst:.2g} in a batch of {len(inputs)}; want {TOLERANCE:g}"]


def _inputs(bundle: Path, count: int) -> Tensor:
    """Inputs as the metadata describes them."""
    entry = read_metadata(bundle)["network_data_format"]["inputs"]["image"]
    sides = [side if isinstance(side, int) else SIDE for side in entry["spatial_shape"]]
    return torch.rand(count, entry["num_channels"], *sides, generator=torch.Generator().manual_seed(0))
