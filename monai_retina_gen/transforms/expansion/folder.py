"""Write generated images beside a data set, as a folder with records, checksums and a MONAI datalist.

Images are made in batches by index, each file is written atomically, and a batch is either kept or made again as a
whole: killed at any moment and started again, the folder ends with exactly the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from monai_retina_gen.data import (
    ICDR_GRADE,
    RECORD_KEY,
    Item,
    LabelGrades,
    MaskComposer,
    grade_of,
    icdr_grade,
    read_text,
    write_json,
    write_manifest,
)
from monai_retina_gen.data.files import begin_folder, remove_unfinished
from monai_retina_gen.data.names import ANATOMY
from monai_retina_gen.editing import Gate, resolve_gate
from monai_retina_gen.engines.distributed import by_first, is_first, own_share
from monai_retina_gen.errors import DatalistError, UnsupportedModeError
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.generators.content_record import gate_record, generator_record, items_sha256
from monai_retina_gen.generators.lesion_painting import HEALTHY, LesionPainting
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.compose_masks import ComposerHandle
from monai_retina_gen.transforms.expansion.batch import Entry, MaskSource, finished_batch
from monai_retina_gen.transforms.expansion.counts import check_served, images_by_grade

logger = logging.getLogger(__name__)
SETTINGS, BANK, BANK_OF = "expand.json", "lesion_bank.npz", "lesion_bank.json"
GRADES = 5
"""Grades that the label gate knows."""


def expand(
    generator: str | RetinaGenerator,
    counts: Mapping[int, int],
    out: str | Path,
    *,
    seed: int = 0,
    batch_size: int = 16,
    gate: str | Gate | None = "label",
    masks: Sequence[Item] | None = None,
    canvas: Sequence[Item] | None = None,
    lesion_bank: str | Path | MaskComposer | None = None,
    device: str = "cpu",
    progress: bool = True,
    label_grades: Mapping[Any, Any] | None = None,
    label_key: str = "grade",
) -> Path:
    """Generate `counts[grade]` images of each grade into `out`; a folder that was stopped is gone on with.

    From `masks`, items of a datalist with masks, each image is made for the vessels, disc and field of view of one of
    them (with the lesions of `lesion_bank`, or its own); on `canvas`, items of one section, lesions are painted on
    those of grade 0. An image belongs to the group of the photograph it was made of, so that the two are never split.
    With `label_grades`, `{label: {grade: photographs}}` (see `LabelGrades`), counts are by label, and the images of a
    label are of its grades, as often as in the data.

    `gate="label"` keeps only images that `LabelGate` accepts, with bounded retries; without a gate the records say
    "label unverified". `batch_size` is part of the settings, since bytes may depend on it.

    Returns:
        The folder: `images/grade<g>/<index>.png`, `manifest.json` and `datalist.json`; with masks or canvases also
        `masks/<key>/grade<g>/<index>.png`.

    Raises:
        ValueError, UnsupportedModeError, DatalistError, BundleNotFoundError, WeightsError: for other settings than the
            folder was begun with, or grades that generator, gate, masks or bank do not have; nothing is begun.
    """
    folder, labels = Path(out), None if label_grades is None else LabelGrades(label_grades)
    made_by = load_generator(generator, device=device)
    numbers = check_request(made_by, counts, labels, seed, batch_size, masks, canvas)
    grades = [grade for grade, number in numbers.items() for _ in range(number)]
    composer = None if masks is None or lesion_bank is None else ComposerHandle(lesion_bank).get()
    eyes = None if masks is None else MaskSource(masks, made_by.image_size, composer)
    healthy = None if canvas is None else _healthy(canvas)
    by_first(lambda: _check_settings(folder, made_by, grades, seed, batch_size, gate, eyes, healthy))
    source = AugmentationSource(
        generator=made_by, gate=gate, lesion_bank=composer, canvas=healthy, canvas_grades=set(grades)
    )

    def finished(start: int) -> list[Entry]:
        batch = grades[start : start + batch_size]
        seeds = [image_seed(seed, start + i) for i in range(len(batch))]
        return finished_batch(folder, source, made_by.image_size, batch, seeds, start, eyes)

    starts, hidden = range(0, len(grades), batch_size), not (progress and is_first())
    for start in tqdm(own_share(starts), desc=f"expand with {made_by.name}", unit="batch", disable=hidden):
        finished(start)
    by_first(
        lambda: _finish(folder, [entry for start in starts for entry in finished(start)], grades, labels, label_key)
    )
    return folder


def check_request(
    generator: RetinaGenerator,
    counts: Mapping[Any, int],
    labels: LabelGrades | None,
    seed: int,
    batch_size: int,
    masks: Sequence[Item] | None,
    canvas: Sequence[Item] | None = None,
) -> dict[int, int]:
    """Images by grade; everything that can be refused is refused here, before anything is written."""
    numbers = images_by_grade(counts, labels)
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
        if grade_of(value, name) < least:
            raise ValueError(f"{name}: {value} came, a whole number from {least} is wanted")
    if canvas is not None:
        _check_canvas(generator, numbers, masks)
        return numbers
    _check_mode(generator, masks)
    check_served(generator, numbers, "sample" if masks is None else "synthesize")
    return numbers


def _check_canvas(generator: RetinaGenerator, numbers: Mapping[int, int], masks: Sequence[Item] | None) -> None:
    if masks is not None:
        raise ValueError("masks and canvas: both came; masks make whole images, canvases are painted on: give one")
    if HEALTHY in numbers:
        raise ValueError("counts: grade 0 came; canvases are of grade 0 already: leave it out (--counts 2:100 3:100)")
    if not isinstance(generator, LesionPainting):
        raise UnsupportedModeError(
            f"canvas: generator {generator.name!r} paints nothing; retina_lesion_painter and retina_drgan do"
        )
    check_served(generator, numbers, "synthesize")


def _healthy(items: Sequence[Item]) -> list[Item]:
    """Items of grade 0, each with its group."""
    found = [item for item in items if "grade" in item and icdr_grade(item) == HEALTHY]
    if not found or not all("group" in item for item in found):
        raise DatalistError(
            f"canvas: {len(found)} of {len(items)} photographs have grade 0, and each wants a 'group', to which what "
            "is painted on it belongs; name a datalist with healthy training photographs"
        )
    return found


def _check_mode(generator: RetinaGenerator, masks: Sequence[Item] | None) -> None:
    if masks is None and generator.modes == {"synthesize"}:
        raise UnsupportedModeError(
            f"generator {generator.name!r} makes images from masks: give masks=items (--masks DATALIST; "
            "`monai-retina-gen segment` writes such a datalist)"
        )
    generator.check_mode("sample" if masks is None else "synthesize")


def _check_settings(
    folder: Path,
    generator: RetinaGenerator,
    grades: Sequence[int],
    seed: int,
    batch_size: int,
    gate: Any,
    eyes: MaskSource | None,
    healthy: Sequence[Item] | None,
) -> None:
    if gate == "label" and generator.num_classes != GRADES:
        raise ValueError(
            f"the label gate judges the grades 0 to {GRADES - 1}, and {generator.name} has {generator.num_classes} "
            "classes: pass gate=None (--gate none), or a gate of your own"
        )
    settings = {
        "generator": generator_record(generator),
        "counts": {str(g): grades.count(g) for g in sorted(set(grades))},
        "seed": seed,
        "batch_size": batch_size,
        "gate": None if gate is None else gate_record(resolve_gate(gate)),
    }
    if healthy is not None:
        settings["canvas_sha256"] = items_sha256(healthy, ("image", "grade", "group", *ANATOMY))
    if eyes is not None:
        settings["masks_sha256"] = eyes.digest()
        settings["lesion_bank_sha256"] = eyes.composer.bank.digest() if eyes.composer else ""
    check_unmixed(folder)
    begin_folder(folder, settings, name=SETTINGS)


def check_unmixed(folder: Path) -> None:
    """`ValueError` for a folder that holds something else than an earlier `expand`: its files would mix."""
    there = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    foreign = [name for name in there if name not in (BANK, BANK_OF)]
    if foreign and SETTINGS not in there:
        more = f" and {len(foreign) - 3} more" if foreign[3:] else ""
        raise ValueError(
            f"{folder} holds {', '.join(foreign[:3])}{more}, and no {SETTINGS} of an earlier expand: choose an empty "
            "or another --out"
        )


def image_seed(seed: int, index: int) -> int:
    """Seed of image `index` under a base seed: independent streams, equal on every machine."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def _finish(
    folder: Path, entries: list[Entry], wanted: Sequence[int], labels: LabelGrades | None, label_key: str
) -> None:
    remove_unfinished(folder)  # of a run that was killed while it wrote
    write_manifest(folder, [(e.name, e.record) for e in entries], {e.name: e.masks for e in entries})
    items = [
        {"image": e.name, **_labelled(e.record.grade, labels, label_key), "group": e.group, **e.masks} for e in entries
    ]
    for item in items:  # a file that cannot be traced must not enter a data set
        if RECORD_KEY not in read_text(folder / str(item["image"])):
            raise ValueError(f"{folder / str(item['image'])} carries no record")
    datalist = {
        "name": f"generated by {entries[0].record.generator}" if entries else "generated",
        "description": "Generated images, not photographs; labels are what was asked for.",
        "licence": "see the generator's bundle",
        "patients": "unknown",
        "training": items,
    }
    write_json(datalist, folder / "datalist.json")
    if len(entries) < len(wanted):
        lacking = Counter(wanted) - Counter(entry.record.grade for entry in entries)
        each = ", ".join(f"{lacking[g]} of {Counter(wanted)[g]} of grade {g}" for g in sorted(lacking))
        logger.warning("refused by the gate and left out: %s; without a gate (--gate none) they are kept", each)


def _labelled(grade: int, labels: LabelGrades | None, label_key: str) -> Item:
    return {label_key: grade} if labels is None else {label_key: labels.label_of(grade), ICDR_GRADE: grade}
