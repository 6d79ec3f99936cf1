"""Starting a training from what an earlier one left: shipped weights, or the whole state in half precision."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.state_files import load_state, load_weights, save_state
from monai_retina_gen.weights.transfer import transfer_state

logger = logging.getLogger(__name__)


def save_training_state(networks: Mapping[str, nn.Module], path: str | os.PathLike[str]) -> None:
    """Write several networks into one file in half precision, `<network>.<parameter>` each: what goes into `training/`.

    Examples:
        >>> import tempfile, torch
        >>> a, b = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_training_state({"generator": a}, folder + "/state.pt")
        ...     start_networks({"generator": b}, init_training=folder + "/state.pt")
        >>> torch.allclose(a.weight, b.weight, atol=1e-3)
        True
    """
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
        partial: take what fits of networks of another resolution or width, layer by layer (see `transfer_state`); a
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
