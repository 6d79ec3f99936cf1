"""Seeds of random transforms that nobody has seeded: from `set_determinism`, and in workers of a plain `DataLoader`."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.transforms import Randomizable
from monai.utils import get_seed
from torch.utils.data import get_worker_info


class WorkerSeeded(Randomizable):
    """Base of random transforms, whose `randomize` calls `settle_seed` first.

    `monai.utils.set_determinism` reaches transforms inside of a `Compose`; one that stands alone takes its seed here.
    Every worker starts with a copy of the transform, and would draw the same numbers as the others (torch's
    `DataLoader` does not know of `Randomizable`). What is drawn in a worker depends on the state that the transform was
    given and on the worker's seed, so that runs repeat. A state that is set in the worker itself is kept as it is.
    """

    _seeded_for: int | None = None

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Any:
        """Seed the draws, as MONAI's transforms do."""
        self._seeded_for = _worker_seed()
        return super().set_random_state(seed, state)

    def settle_seed(self) -> None:
        """Before the first draw, take the seed of `set_determinism`; in a worker, go on to a state of its own."""
        if "R" not in vars(self) and get_seed() is not None:
            super().set_random_state(seed=get_seed())
        worker = _worker_seed()
        if worker is not None and worker != self._seeded_for:
            own = int(self.R.randint(0, 2**32, dtype=np.uint64))
            seed = np.random.SeedSequence([own, worker % 2**63]).generate_state(1)[0]
            self.set_random_state(state=np.random.RandomState(seed))


def _worker_seed() -> int | None:
    info = get_worker_info()
    return None if info is None else info.seed
