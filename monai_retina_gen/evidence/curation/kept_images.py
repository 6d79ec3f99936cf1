"""The kept images of a curation as a data set, as `expand` writes it: PNG files with records, manifest, datalist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_retina_gen.data import RECORD_KEY, GenerationRecord, write_image, write_json, write_manifest
from monai_retina_gen.evidence.curation.candidates import CandidatePool
from monai_retina_gen.evidence.curation.selection import Selection

__all__ = ["write_kept"]

PLAN = "images.json"


def write_kept(
    folder: Path, pool: CandidatePool, selection: Selection, *, label: str, stored: Mapping[str, Any] | None
) -> None:
    """Write what was kept; images of an earlier choice in the same folder are removed.

    Args:
        folder: the data set's folder.
        pool: the candidates.
        selection: which of them are kept.
        label: who verified the grades, for the records.
        stored: the bundle that the latents were stored in, with its new sha256; the records name it.
    """
    entries = _entries(pool, selection, label, stored)
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


def _entries(
    pool: CandidatePool, selection: Selection, label: str, stored: Mapping[str, Any] | None
) -> list[tuple[str, GenerationRecord, int]]:
    """File name, record and candidate of each kept image, by grade."""
    records, entries = pool.records(), []
    for grade in sorted(set(selection.grades)):
        for place, row in enumerate(selection.rows(grade=grade)):
            record = replace(records[row], grade=grade, label=label)
            if stored:  # the bundle makes it again from its table, where the seed is the place
                weights = {"generator": stored["bundle"], "weights_sha256": stored["sha256"]}
                record = replace(record, seed=place, options={"curated": True}, **weights)
            entries.append((f"images/grade{grade}/{records[row].seed:07d}.png", record, row))
    return entries


def _start(folder: Path, names: list[str]) -> None:
    """Write down which images will be made, and remove those of an earlier choice: only files written down before."""
    path = folder / PLAN
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    # both, until the old ones are gone: killed in between, nothing is left behind that no list knows
    write_json(sorted({*before, *names}), path)
    for name in set(before) - set(names):
        (folder / name).unlink(missing_ok=True)
    write_json(sorted(names), path)
