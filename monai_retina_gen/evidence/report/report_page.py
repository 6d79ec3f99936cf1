"""One self-contained HTML page from what the other commands wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.data import Item
from monai_retina_gen.data.files import write_atomically
from monai_retina_gen.data.raster_io import encode_png
from monai_retina_gen.evidence.evaluation.image_sets import photographs, sampled_images
from monai_retina_gen.generators import RetinaGenerator

from . import sections
from .html import figure, page, paragraph, section
from .pictures import grade_rows, read_training, training_plot

COLUMNS = 4
SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any], Path], str]]] = {
    "study": ("sets", sections.study_section),
    "evaluation": ("sliced_wasserstein", sections.evaluation_section),
    "label_check": ("graders", sections.label_check_section),
    "audit": ("rule", sections.audit_section),
    "readers": ("n_readers", sections.reader_section),
}
"""By part: a key that its JSON must hold, and what makes its section. In the order of the page."""


def report(
    parts: Mapping[str, str | Path],
    *,
    out: str | Path,
    training: str | Path | None = None,
    samples: bytes | None = None,
    title: str = "Generated retinal photographs: the evidence",
) -> Path:
    """Write one self-contained HTML page.

    Args:
        parts: JSON files by part: `study`, `evaluation`, `label_check`, `audit`, `readers`; any of them.
        out: HTML file to write.
        training: TensorBoard folder or file, or CSV log, to plot.
        samples: PNG of a grid of samples beside photographs, by grade.
        title: heading of the page.

    Raises:
        ValueError: without any part, for an unknown part, or for a file that is not what its part is.
    """
    unknown = sorted(set(parts) - set(SECTIONS))
    if unknown or not (parts or training or samples):
        raise ValueError(f"parts {unknown or 'are missing'}: give at least one of {', '.join(SECTIONS)}, or --training")
    preface = _PREFACE + _OF_IMAGES if samples or set(parts) - {"study", "readers"} else _PREFACE
    shown = [section("What this page is", paragraph(f"{preface} Not for clinical use."))]
    if samples:
        caption = "One row a grade, from 0 at the top: images of the data set at the left, samples at the right."
        shown.append(section("Samples", figure(samples, caption)))
    for name, (key, make) in SECTIONS.items():
        if name in parts:
            path = Path(parts[name])
            shown.append(make(_read(path, name, key), path.parent))
    if training:
        plot = training_plot(read_training(training))
        shown.append(section("Training", figure(plot, "Losses and figures by step or epoch, as logged.", plot=True)))
    write_atomically(Path(out), page(title, shown))
    return Path(out)


_PREFACE = "Figures taken by monai_retina_gen; compare only figures of the same number of images or photographs."
_OF_IMAGES = (
    " Figures of images depend on the extractor beside them, too. Real against real is the same figure of one half of "
    "the photographs against the other: no generator is expected to do better. No figure of images says whether they "
    "help a grader; only a study does. The page shows photographs of its data set: hand it on as you would them."
)


def _read(path: Path, name: str, key: str) -> dict[str, Any]:
    given = f"--{name.replace('_', '-')} {path}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{given}: {error}") from error
    if not isinstance(content, dict) or key not in content:
        raise ValueError(f"{given}: holds no `{key}`; is it the JSON of another command or version?")
    return content


def sample_rows(generator: RetinaGenerator, photographed: Sequence[Item], *, seed: int = 0) -> bytes:
    """PNG of a few photographs of each grade beside samples of that grade, for the page."""
    by_grade: dict[int, list[Item]] = {}
    for item in photographed:
        by_grade.setdefault(int(item["grade"]), []).append(item)
    items = [item for grade in sorted(by_grade) for item in by_grade[grade][:COLUMNS]]
    real = photographs(items, generator.image_size)
    grades = [grade for grade in range(generator.num_classes) for _ in range(COLUMNS)]
    grid = grade_rows(real, sampled_images(generator, grades, seed=seed), columns=COLUMNS)
    pixels = (grid * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return encode_png(pixels, text={}, xmp=None)
