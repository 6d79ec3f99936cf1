"""Writing the latents that a curation kept into the weights of a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_retina_gen.data.settings_file import check_writable
from monai_retina_gen.evidence.curation.candidates import is_unconditional, network_sha256
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.weights import CHECKPOINT, build_from_bundle, find_bundle, load_state, load_weights, save_state
from monai_retina_gen.zoo.pinning import pin

__all__ = ["check_store", "store"]


def check_store(bundle: str | Path, generator: RetinaGenerator, per_grade: int) -> Path:
    """Folder of a bundle that can take the curation of `generator`.

    Raises:
        ValueError: if the generator takes grades, the bundle's network is not the generator's, or its table has fewer
            than `per_grade` places for a grade.
    """
    folder = find_bundle(bundle)
    check_writable(folder / "configs")
    if not is_unconditional(generator):
        raise ValueError(
            f"--store {bundle}: generator {generator.name!r} takes grades, so there is no table of latents to fill; "
            "leave --store out and the curation is a filter"
        )
    state = load_state(folder / CHECKPOINT)
    if network_sha256(state) != network_sha256(generator.network.state_dict()):
        raise ValueError(
            f"--store {bundle}: its weights are not those of generator {generator.name!r}, whose images are judged; "
            "load the generator from that bundle"
        )
    places = state["curated_latents"].shape[1]
    if per_grade > places:
        raise ValueError(f"--store {bundle}: per_grade is {per_grade}, but its table has {places} places for a grade")
    return folder


def store(folder: Path, latents: Sequence[Tensor]) -> dict[str, Any]:
    """Write latents, one tensor `(n, latent_dim)` a grade, into a bundle's weights and pin them.

    Returns:
        The bundle's name and the pin: sha256 and size in bytes.
    """
    network: Any = build_from_bundle(folder, "network_def")
    load_weights(network, folder / CHECKPOINT)
    network.set_curated(latents)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.pt"
        save_state(network.state_dict(), file, half=True)
        (found,) = pin(folder, file).values()
    return {"bundle": folder.name, **found}
