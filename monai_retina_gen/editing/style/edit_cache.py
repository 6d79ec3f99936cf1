"""What an edit of a photograph starts from, kept in memory: styles, reconstruction, masks and layer outputs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from monai_retina_gen.fork_safety import ForkSafeLock

__all__ = ["EditCache", "EditStart", "image_key"]


@dataclass
class EditStart:
    """A photograph in the style space.

    Args:
        styles: `(K,)`.
        image: `(3, S, S)` in [0, 1], the generator's unedited image.
        distance: of the photograph from it.
        masks: soft masks of the photograph and of `image`, where a segmenter knows their size.
        features: outputs of layers, by the layer that reads them.
        mirrored: the styles make the mirror image of `image`.
    """

    styles: Tensor
    image: Tensor
    distance: float
    masks: list[Mapping[str, Tensor]] = field(default_factory=list)
    features: dict[int, Tensor] = field(default_factory=dict)
    mirrored: bool = False

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        maps = [mask for each in self.masks for mask in each.values()]
        return sum(x.nbytes for x in (self.styles, self.image, *maps, *self.features.values()))


def image_key(image: Tensor, grade: int) -> bytes:
    """Key of a photograph: a digest of its pixels and grade."""
    pixels = image.detach().float().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(pixels + bytes([grade % 256]), digest_size=16).digest()


class EditCache:
    """The photographs that were edited last, up to a limit of memory; safe for threads.

    Args:
        megabytes: limit; 0 keeps nothing.

    Examples:
        >>> import torch
        >>> cache = EditCache(megabytes=1)
        >>> cache.put(b"eye", EditStart(torch.zeros(4), torch.zeros(3, 8, 8), 0.1))
        >>> cache.get(b"eye").distance, cache.get(b"other") is None
        (0.1, True)
    """

    def __init__(self, megabytes: float = 256) -> None:
        self.limit = int(megabytes * 2**20)
        self._kept: OrderedDict[bytes, EditStart] = OrderedDict()
        self._lock = ForkSafeLock()

    def get(self, key: bytes) -> EditStart | None:
        """What is kept under `key`, or `None`."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: bytes, start: EditStart) -> None:
        """Keep it; those that were not used for the longest time give way."""
        with self._lock:
            self._kept[key] = start
            self._kept.move_to_end(key)
            used = sum(each.bytes for each in self._kept.values())
            while self._kept and used > self.limit:
                used -= self._kept.popitem(last=False)[1].bytes

    def __getstate__(self) -> dict[str, int]:
        return {"limit": self.limit}  # what is kept stays in its process

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["limit"] / 2**20)  # type: ignore[misc]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
