"""Starting a training from what an earlier one left: shipped weights, or the whole state in half precision."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.state_files import load_state, load_weights, save_state

__all__ = ["save_training_state", "start_networks"]


def save_training_state(networks: Mapping[str, nn.Module], path: str | os.PathLike[str]) -> None:
    """Write several networks into one file in half precision, `<network>.<parameter>` each: what goes into `training/`.

    Example:
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
    networks: Mapping[str, nn.Module], *, init_weights: str | None = None, init_training: str | None = None
) -> None:
    """Load what a training starts from; nothing where neither is given.

    Args:
        networks: by name.
        init_weights: bare state dict of a generator (a bundle's `models/model.pt`), for `generator` and `ema`.
        init_training: file of `save_training_state` with all networks.

    Raises:
        ValueError: if both are given.
        WeightsError: if the file does not fit.
    """
    if init_weights and init_training:
        raise ValueError("init_weights and init_training are given: choose one to start from")
    if init_weights:
        for name in ("generator", "ema"):
            load_weights(networks[name], init_weights)
    if init_training:
        state = load_state(init_training)
        for name, network in networks.items():
            own: dict[str, Any] = {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}
            try:
                network.load_state_dict(own)
            except RuntimeError as error:
                raise WeightsError(f"{init_training} does not fit the {name}: {str(error)[:800]}") from error
