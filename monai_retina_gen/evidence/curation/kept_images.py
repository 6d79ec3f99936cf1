"""Where the kept images of a curation go: a data set as `expand` writes it, and a bundle's table of latents."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_retina_gen.data import RECORD_KEY, write_image, write_json, write_manifest
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.evidence.curation.candidates import CandidatePool, Selection, is_unconditional, network_sha256
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.weights import CHECKPOINT, build_from_bundle, find_bundle, load_state, load_weights, save_state
from monai_retina_gen.zoo.packing import pin

PLAN = "images.json"


def write_kept(
    folder: Path, pool: CandidatePool, selection: Selection, *, label: str, stored: Mapping[str, Any] | None
) -> None:
    """Write what was kept as a data set, and remove images of an earlier choice.

    `label` says in the records who verified the grades; `stored`, from `store`, which weights make the images again.
    """
    records, entries = pool.records(), []
    for grade in sorted(set(selection.grades)):
        for place, row in enumerate(selection.rows(grade=grade)):
            record = replace(records[row], grade=grade, label=label)
            if stored:  # the bundle makes it again from its table, where the seed is the place
                weights = {"generator": stored["bundle"], "weights_sha256": stored["sha256"]}
                record = replace(record, seed=place, options={"curated": True}, **weights)
            entries.append((f"images/grade{grade}/{records[row].seed:07d}.png", record, row))
    _start(folder, [name for name, _, _ in entries])
    for name, record, row in entries:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = pool.images([row])[0].float() / 255
        write_image(folder / name, image, text={RECORD_KEY: record.to_json()}, xmp=record.to_xmp())
    write_manifest(folder, [(name, record) for name, record, _ in entries])
    datalist = {
        "name": f"curated from {pool.generator.name}",
        "description": "Generated images, not photographs; labels are what graders see in them.",
        "licence": "see the generator's bundle",
        "patients": "unknown",
        "training": [{"image": name, "grade": r.grade, "group": f"generated/{name}"} for name, r, _ in entries],
    }
    write_json(datalist, folder / "datalist.json")


def _start(folder: Path, names: list[str]) -> None:
    """Write down which images will be made, and remove those of an earlier choice: only files written down before."""
    path = folder / PLAN
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    # both, until the old ones are gone: killed in between, nothing is left behind that no list knows
    write_json(sorted({*before, *names}), path)
    for name in set(before) - set(names):
        (folder / name).unlink(missing_ok=True)
    write_json(sorted(names), path)


def check_store(bundle: str | Path, generator: RetinaGenerator, per_grade: int) -> Path:
    """Folder of a bundle that can take the curation of `generator`: of the same network, with places enough."""
    folder = find_bundle(bundle)
    check_writable(folder / "configs")
    if not is_unconditional(generator):
        raise ValueError(f"--store {bundle}: {generator.name!r} takes grades and has no table of latents; leave it out")
    state = load_state(folder / CHECKPOINT)
    if network_sha256(state) != network_sha256(generator.network.state_dict()):
        raise ValueError(
            f"--store {bundle}: its weights are not those of generator {generator.name!r}, which was given"
        )
    places = state["curated_latents"].shape[1]
    if per_grade > places:
        raise ValueError(f"--store {bundle}: per_grade is {per_grade}, but its table has {places} places for a grade")
    return folder


def store(folder: Path, latents: Sequence[Tensor]) -> dict[str, Any]:
    """Write latents `(n, latent_dim)`, a tensor a grade, into a bundle's weights; returns its name and the new pin."""
    network: Any = build_from_bundle(folder, "network_def")
    load_weights(network, folder / CHECKPOINT)
    network.set_curated(latents)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.pt"
        save_state(network.state_dict(), file, half=True)
        (found,) = pin(folder, file).values()
    return {"bundle": folder.name, **found}
