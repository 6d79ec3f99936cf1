"""Starting a network from one that was trained at another resolution or width: layer by layer, what fits is taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_retina_gen.errors import WeightsError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transfer:
    """What a transfer did.

    Args:
        taken: names of the network's tensors that came from the state.
        kept: names of the network's tensors that stay as they were.
        unused: names of the state's tensors that went nowhere.
    """

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

    Args:
        network: its tensors are overwritten where they fit.
        state: names and tensors.
        source: what messages call it.

    Raises:
        WeightsError: if no parameter fits; buffers alone, such as a table of latents, are no start.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        >>> transfer_state(network, other.state_dict()).taken
        ('0.weight', '0.bias')
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
