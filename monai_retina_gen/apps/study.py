"""`study`: does generative augmentation help a grader of retinopathy?"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from monai_retina_gen.apps.expand_counts import parse_label_grades
from monai_retina_gen.evidence.study.config import ARMS, SELECTIONS, StudyConfig
from monai_retina_gen.evidence.study.presets import PRESETS
from monai_retina_gen.evidence.study.smoke import smoke_generator, smoke_phantoms
from monai_retina_gen.evidence.study.study import run_study

__all__ = ["add_parser", "run"]

EXAMPLE = """example:
  python -m monai_retina_gen study --datalist aptos.json --generators retina_vae --preset cpu --out study
  python -m monai_retina_gen study --preset smoke --out smoke      (phantoms, under two minutes)

arms:
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "study",
        description="Trains graders in several arms for equally many steps, judges them on photographs that they never "
        "saw, and says with intervals whether generated images helped. Stopped, it goes on where it was.",
        epilog=EXAMPLE + "\n".join(f"  {name:16} {text}" for name, text in ARMS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--datalist", help="datalist, data set name or folder, with a training, validation and test part"
    )
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--masks", help="datalist of the same photographs with predicted masks (`segment`)")
    parser.add_argument("--external", type=_words, help="datalists of other data sets to be judged on, by commas")
    parser.add_argument("--generators", type=_words, default=(), help="bundle names or folders, by commas")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="cpu", help="settings to start from (default cpu)")
    parser.add_argument("--out", required=True, help="folder to write, or to go on with")
    parser.add_argument("--arms", type=_words, help="arms, by commas")
    parser.add_argument("--graders", type=_words, help="backbones, by commas: resnet18, resnet50, vgg16...")
    parser.add_argument("--init-weights", help="what graders start from: imagenet, or a file (default: nothing)")
    parser.add_argument("--ratios", type=_numbers, help="shares of the added photographs that are generated, by commas")
    parser.add_argument(
        "--policies", type=_words, help="further conditions by name, by commas: edit--retina_drgan--share0.3--gated"
    )
    parser.add_argument("--gate", help="judges gated policies: label (default), or BUNDLE:CONFIG")
    parser.add_argument("--severe-share", type=float, help="share of the photographs of grades 3 and 4 that are there")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (default 1); a GPU serves 6 to 8")
    parser.add_argument("--label-key", help="key or column of the grade in the datalists (default grade)")
    parser.add_argument("--grade-map", help="binary or referable")
    parser.add_argument(
        "--label-grades", metavar="JSON", help="photographs by grade of each label; see `expand --help`"
    )
    parser.add_argument(
        "--selection", choices=SELECTIONS, help="average: fixed schedule (default); validation: the best epoch there"
    )
    parser.add_argument("--primary", metavar="CONDITION", help="what to compare with oversample, named before any run")
    parser.add_argument(
        "--unseen", type=_words, help="generators made without the photographs of --datalist, by commas"
    )
    parser.add_argument("--classic", help="recipe of the classic augmentations: default or cheng2021")
    for name in ("seeds", "cross-validation", "image-size", "max-epochs", "batch-size", "bank-size"):
        parser.add_argument(f"--{name}", type=int, help=_help(name))
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--device", help="cpu (default) or cuda")
    parser.set_defaults(run=run)


def _help(name: str) -> str:
    return {
        "seeds": "trainings of every arm and grader; fewer than five give no verdict",
        "cross-validation": "folds over training and validation, with another division for every seed",
        "bank-size": "generated images per grade",
    }.get(name, "")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in _words(text))


def run(args: argparse.Namespace) -> int:
    """Run the study and print its conclusion."""
    config, generators = _settings(args)
    study = run_study(config, generators, jobs=args.jobs)
    for line in (*study["skipped"], *study["warnings"]):
        print(line)
    print(Path(args.out, "tables", "summary.md").read_text(encoding="utf-8"))
    for name, detection in study["detection"].items():
        print(f"{name}: {detection['words']}")
    print(f"\n{study['primary']['words']}\nwrote {args.out}: study.json, tables, plots")
    return 0


def _settings(args: argparse.Namespace) -> tuple[StudyConfig, dict[str, Any]]:
    values = dict(PRESETS[args.preset])
    names = {field.name for field in fields(StudyConfig)}
    values |= {key: value for key, value in vars(args).items() if key in names and value is not None}
    if args.label_grades:
        values["label_grades"] = parse_label_grades(args.label_grades)
    generators: dict[str, Any] = {Path(source).name: source for source in args.generators}
    if len(generators) < len(args.generators):
        raise ValueError(f"--generators {','.join(args.generators)}: two of them have the same name")
    if args.preset == "smoke" and not args.datalist:
        values["datalist"] = smoke_phantoms(Path(args.out) / "phantoms")
        generators = generators or {"untrained": smoke_generator()}
    if not values.get("datalist"):
        raise ValueError("--datalist is wanted: the photographs to train on (only the preset smoke has its own)")
    return StudyConfig(**{**values, "preset": args.preset}), generators
