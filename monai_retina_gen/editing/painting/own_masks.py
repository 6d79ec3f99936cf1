"""What photographs show before they are painted: the masks that came with them, else those that a segmenter finds."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from monai_retina_gen.editing.edit_request import check_retina
from monai_retina_gen.editing.gate_measures import DARK
from monai_retina_gen.editing.lesion_masks import Masker
from monai_retina_gen.editing.photograph_cache import PhotographCache
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks import PAINTED_LESIONS

PRESENT = 0.5


class OwnMasks:
    """Masks of photographs; what is found is kept by the photographs' content.

    `masker` gives soft masks; without one all masks but the field of view must be given.
    """

    def __init__(self, masker: Masker | None, *, cache_mb: float = 128) -> None:
        self.masker = masker
        self.cache: PhotographCache[dict[str, Tensor]] = PhotographCache(cache_mb)

    def __call__(
        self,
        photographs: Tensor,
        given: Mapping[str, Tensor],
        needed: Collection[str] = ("od", "vessel", *PAINTED_LESIONS),
    ) -> dict[str, Tensor]:
        """Masks `(B, 1, H, W)` float32 in [0, 1] of photographs: what is given, `fov`, and what is `needed`.

        `ImageValueError` for a photograph without retina or colour, or masks that nobody can find.
        """
        lacking = [name for name in needed if name not in given]
        if lacking and self.masker is None:
            raise ImageValueError(f"masks: {', '.join(lacking)} did not come, and there is no segmenter: give them")
        starts = self.cache.entries(photographs, [0] * len(photographs), _retinas)
        self._find(photographs, starts, lacking)
        if not starts:
            return dict(given)
        names = [name for name in ("fov", *lacking) if name not in given]
        found = {name: torch.stack([each[name] for each in starts]).to(photographs) for name in names}
        return {**given, **found}

    def _find(self, photographs: Tensor, starts: list[dict[str, Tensor]], names: list[str]) -> None:
        rows = [i for i, start in enumerate(starts) if any(name not in start for name in names)]
        if not rows:
            return
        assert self.masker is not None  # __call__
        found = self.masker(photographs[rows])
        for name, soft in found.items():
            for row, mask in zip(rows, soft >= PRESENT, strict=True):
                starts[row][name] = mask.clone()


def _retinas(images: Tensor, grades: Tensor) -> list[dict[str, Tensor]]:
    """Where the retina lies in photographs of any grade: what is known of them before any mask is found."""
    return [{"fov": _retina(image)} for image in images]


def _retina(image: Tensor) -> Tensor:
    """The field of view `(1, H, W)`, bool: inside the outline, and between the bands where it is clipped."""
    found, lit = check_retina(image), image.amax(0) > DARK
    y = (torch.arange(found.height, device=image.device) + 0.5 - found.centre_y) / found.radius_y
    x = (torch.arange(found.width, device=image.device) + 0.5 - found.centre_x) / found.radius_x
    rows, columns = lit.any(1), lit.any(0)
    seen = (y[:, None] ** 2 + x**2 <= 1) & _between(rows)[:, None] & _between(columns)
    return seen[None]


def _between(lit: Tensor) -> Tensor:
    """From the first to the last true value."""
    places = lit.long()
    return (places.cumsum(0) > 0) & (places.flip(0).cumsum(0).flip(0) > 0)
