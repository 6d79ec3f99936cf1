"""Starting a training from what an earlier one left: weights, the whole state, or what fits of another network."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.state_files import load_state, load_weights, save_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transfer:
    """The network's tensors that came from a state or stay as they were, and the state's that went nowhere."""

    taken: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        shown = [f"{len(self.taken)} tensors taken"]
        for verb, names in (("kept as they were", self.kept), ("of the file unused", self.unused)):
            shown.append(f"{len(names)} {verb}" + (f" ({_summary(names)})" if names else ""))
        return ", ".join(shown)


@torch.no_grad()
def transfer_state(network: nn.Module, state: Mapping[str, Tensor], *, source: str = "the state") -> Transfer:
    """Copy the tensors of `state` whose name and shape are the network's, and log what was taken and what not.

    A network whose layers are not counted alike at all resolutions has a method `aligned(state)` that renames them.
    `WeightsError` if no parameter fits; buffers alone, such as a table of latents, are no start.
    """
    renamed = network.aligned(state) if hasattr(network, "aligned") else dict(state)  # type: ignore[operator]
    own = network.state_dict()
    taken = tuple(n for n in own if n in renamed and renamed[n].shape == own[n].shape)
    if not {name for name, _ in network.named_parameters()}.intersection(taken):
        raise WeightsError(
            f"{source} has nothing that fits {type(network).__name__}: no name and shape of its {len(state)} tensors "
            "is that of one of the network's parameters. Is it of another architecture?"
        )
    for name in taken:
        own[name].copy_(renamed[name])
    kept = tuple(n for n in own if n not in taken)
    unused = tuple(n for n in renamed if n not in taken)
    result = Transfer(taken, kept, unused)
    logger.info(f"{type(network).__name__} from {source}: {result}")
    return result


def _summary(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def save_training_state(networks: Mapping[str, nn.Module], path: str | os.PathLike[str]) -> None:
    """Write networks into one file in half precision, `<network>.<parameter>` each: what goes into `training/`."""
    state = {f"{name}.{k}": v for name, network in networks.items() for k, v in network.state_dict().items()}
    save_state(state, path, half=True)


def start_networks(
    networks: Mapping[str, nn.Module],
    *,
    init_weights: str | None = None,
    init_training: str | None = None,
    partial: bool = False,
) -> None:
    """Load what a training starts from; nothing where neither is given.

    Args:
        networks: by name.
        init_weights: bare state dict of a generator (a bundle's `models/model.pt`), for `generator` and `ema`.
        init_training: file of `save_training_state` with all networks; a `generator` that it lacks starts from `ema`.
        partial: take what fits of networks of another resolution or width (see `transfer_state`); a
            network of which `init_training` holds nothing starts anew. What was taken is logged.

    Raises:
        ValueError: if both are given.
        WeightsError: if the file does not fit.
    """
    if init_weights and init_training:
        raise ValueError("init_weights and init_training are given: choose one to start from")
    if init_weights:
        for name in ("generator", "ema"):
            if partial:
                transfer_state(networks[name], load_state(init_weights), source=init_weights)
            else:
                load_weights(networks[name], init_weights)
    if init_training:
        state = load_state(init_training)
        for name, network in networks.items():
            own = _part(state, name) or (_part(state, "ema") if name == "generator" else {})
            if partial and not own:
                logger.warning(f"{init_training} holds no {name}: it starts anew")
            elif partial:
                transfer_state(network, own, source=f"{init_training}, {name}")
            else:
                _load_strictly(network, own, f"{init_training} does not fit the {name}")


def _part(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}


def _load_strictly(network: nn.Module, state: dict[str, Any], complaint: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{complaint}: {str(error)[:800]}") from error
