"""`segmentation-study`: do synthesized pairs of photograph and masks help a segmenter of lesions?"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.evidence.study.segmentation import (
    SEGMENTATION_ARMS,
    SEGMENTATION_PRESETS,
    SegmentationStudyConfig,
    run_segmentation_study,
)
from monai_retina_gen.evidence.study.segmentation.smoke import smoke_synthesizer
from monai_retina_gen.generators import RetinaGenerator

__all__ = ["add_parser", "run"]

EXAMPLE = """example:
  python -m monai_retina_gen segmentation-study --datalist idrid --dataset-dir IDRID --masks masks/datalist.json \\
      --generator retina_drgan --out study
  python -m monai_retina_gen segmentation-study --preset smoke --out smoke      (phantoms, under two minutes)

arms:
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "segmentation-study",
        description="Trains small segmenters in several arms for equally many steps, and compares their PR-AUC on "
        "photographs that they never saw, with intervals. Stopped, it goes on where it was.",
        epilog=EXAMPLE + "\n".join(f"  {name:12} {text}" for name, text in SEGMENTATION_ARMS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--datalist", help="datalist, data set name or folder with annotated lesions")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--masks", help="datalist of the same photographs with predicted masks (`segment`)")
    parser.add_argument("--generator", help="bundle name or folder, with the mode synthesize")
    parser.add_argument("--preset", choices=sorted(SEGMENTATION_PRESETS), default="cpu")
    parser.add_argument("--out", required=True, help="folder to write, or to go on with")
    parser.add_argument("--arms", type=lambda text: tuple(text.split(",")), help="arms, by commas")
    for name in ("seeds", "image-size", "steps", "batch-size", "bank-size"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--share", type=float, help="of the drawn images that are synthesized")
    parser.add_argument("--device")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the study and print its table."""
    values: dict[str, Any] = dict(SEGMENTATION_PRESETS[args.preset])
    names = {field.name for field in fields(SegmentationStudyConfig)}
    values |= {key: value for key, value in vars(args).items() if key in names and value is not None}
    generator: RetinaGenerator | str | None = args.generator
    if args.preset == "smoke" and not args.datalist:
        values["datalist"] = str(_phantoms(Path(args.out) / "phantoms"))
        generator = generator or smoke_synthesizer()
    if not values.get("datalist"):
        raise ValueError("--datalist is wanted: annotated photographs (only the preset smoke has its own)")
    run_segmentation_study(SegmentationStudyConfig(**{**values, "preset": args.preset}), generator)
    print(Path(args.out, "summary.md").read_text(encoding="utf-8"))
    return 0


def _phantoms(folder: Path) -> Path:
    """20 phantoms, if they are not there: the field of view is a little smaller than the file."""
    path = folder / "datalist.json"
    return path if path.is_file() else write_phantoms(folder, count=20, size=72, grades=(3, 2, 4), splits=(0.6, 0, 0.4))
