"""`study`: do generated images help a grader of retinopathy, or synthesized pairs a segmenter of lesions?

Trains graders (or segmenters) in several arms for equally many steps, judges them on photographs that they never saw,
and says with intervals whether generated images helped. Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from monai_retina_gen.apps.command_parser import CommandParser, json_mapping
from monai_retina_gen.evidence.study.config import (
    ARMS,
    PRESETS,
    SELECTIONS,
    StudyConfig,
    smoke_generator,
    smoke_phantoms,
    smoke_synthesizer,
)
from monai_retina_gen.evidence.study.segmentation import (
    SEGMENTATION_ARMS,
    SEGMENTATION_PRESETS,
    SegmentationStudyConfig,
    run_segmentation_study,
)
from monai_retina_gen.evidence.study.study import run_study

CHOSEN_HERE = {"run", "command", "traceback", "task", "generators", "preset", "jobs", "only_folds"}


def add_options(parser: CommandParser) -> None:
    parser.describe(
        __doc__,
        "--datalist aptos.json --generators retina_vae --preset cpu --out study\n"
        "  monai-retina-gen study --task segmentation --datalist idrid --dataset-dir IDRID --folds 5 "
        "--generators retina_lesion_painter --out pairs\n"
        "  monai-retina-gen study --preset smoke --out smoke      (phantoms, under two minutes)\n\n"
        f"arms of graders:\n{_listed(ARMS)}\n\narms of segmenters:\n{_listed(SEGMENTATION_ARMS)}",
    )
    parser.add_argument("--task", choices=["grading", "segmentation"], default="grading", help="what is trained")
    parser.datalist("datalist, data set name or folder; annotated lesions for segmenters", required=False)
    parser.add_argument("--masks", metavar="DATALIST", help="the same photographs with predicted masks (`segment`)")
    parser.add_argument("--generators", nargs="+", default=[], help="bundle names or folders, or BUNDLE:CONFIG")
    presets = sorted({*PRESETS, *SEGMENTATION_PRESETS})
    parser.add_argument("--preset", choices=presets, default="cpu", help="settings to start from")
    parser.shared("--out")
    parser.add_argument("--arms", nargs="+", help="arms, see below")
    parser.add_argument("--seeds", type=int, help="trainings of every arm; fewer than five give no verdict")
    parser.add_argument("--bank-size", type=int, help="generated images per grade")
    parser.shared("--image-size", "--batch-size")
    parser.add_argument("--learning-rate", type=float, help="learning rate of every training")
    parser.add_argument("--device", default=None, help="cpu (default) or cuda")
    _add_grading(partial(parser.add_argument, group=parser.add_argument_group("graders")))
    group = parser.add_argument_group("segmenters")
    parser.add_argument("--steps", group=group, type=int, help="steps of every training")
    parser.add_argument("--share", group=group, type=float, help="of the crops that are of made or healthy photographs")
    parser.add_argument("--crop-size", group=group, type=int, help="side of the crops that are trained on")
    parser.add_argument("--folds", group=group, type=int, help="over all annotated photographs; 0: training, test")
    parser.add_argument("--only-folds", group=group, nargs="+", type=int, help="to train; other processes train others")


def _add_grading(add: Callable[..., Any]) -> None:
    add("--external", nargs="+", metavar="DATALIST", help="other data sets to be judged on")
    add("--graders", help="backbones: resnet18, resnet50, vgg16...")
    add("--init-weights", help="what graders start from: imagenet, or a file (default: nothing)")
    add("--ratios", nargs="+", type=float, help="shares of the added photographs that are generated")
    add("--policies", nargs="+", help="further conditions by name: edit--retina_drgan--share0.3--gated")
    add("--gate", choices=None, help="judges gated policies: label (default), or BUNDLE:CONFIG")
    add("--severe-share", type=float, help="share of the photographs of grades 3 and 4 that are there")
    add("--jobs", type=int, default=1, help="trainings side by side; a GPU serves 6 to 8")
    add("--label-key", help="key or column of the grade in the datalists (default grade)")
    add("--grade-map", help="binary or referable")
    add("--label-grades", type=json_mapping, help="JSON: photographs by grade of each label; see `expand --help`")
    add("--selection", choices=SELECTIONS, help="average: fixed schedule (default); validation: the best epoch there")
    add("--primary", metavar="CONDITION", help="what to compare with oversample, named before any run")
    add("--unseen", nargs="+", help="generators made without the photographs of --datalist")
    add("--classic", help="recipe of the classic augmentations: default or cheng2021")
    add("--max-epochs", type=int, help="epochs of every training")
    add("--cross-validation", type=int, help="folds over training and validation, with another division for every seed")


def _listed(arms: Mapping[str, str]) -> str:
    return "\n".join(f"  {name:16} {text}" for name, text in arms.items())


def run(args: argparse.Namespace) -> None:
    if args.task == "segmentation":
        _run_segmentation(args)
        return
    generators: dict[str, Any] = {Path(source).name: source for source in args.generators}
    if len(generators) < len(args.generators):
        raise ValueError(f"--generators {' '.join(args.generators)}: two of them have the same name")
    config = StudyConfig(**_settings(args, StudyConfig, PRESETS))
    own = {"untrained": smoke_generator()} if _is_smoke(args) else {}
    study = run_study(config, generators or own, jobs=args.jobs)
    for line in (*study["skipped"], *study["warnings"]):
        print(line)
    print(Path(args.out, "tables", "summary.md").read_text(encoding="utf-8"))
    for name, detection in study["detection"].items():
        print(f"{name}: {detection['words']}")
    print(f"\n{study['primary']['words']}\nwrote {args.out}: study.json, tables, plots")


def _run_segmentation(args: argparse.Namespace) -> None:
    if len(args.generators) > 1:
        raise ValueError(f"--generators {' '.join(args.generators)}: a study of segmenters takes one")
    config = SegmentationStudyConfig(**_settings(args, SegmentationStudyConfig, SEGMENTATION_PRESETS))
    generator = args.generators[0] if args.generators else smoke_synthesizer() if _is_smoke(args) else None
    if not run_segmentation_study(config, generator, only_folds=args.only_folds):
        print(f"{args.out}: other folds are not trained yet")
        return
    print(Path(args.out, "summary.md").read_text(encoding="utf-8"))


def _is_smoke(args: argparse.Namespace) -> bool:
    return args.preset == "smoke" and not args.datalist


def _settings(args: argparse.Namespace, kind: type, presets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if args.preset not in presets:
        raise ValueError(f"--preset {args.preset}: of --task {args.task} there are {', '.join(sorted(presets))}")
    given = {key: value for key, value in vars(args).items() if value is not None and key not in CHOSEN_HERE}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    unknown = sorted(set(given) - {field.name for field in fields(kind)})
    if unknown:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unknown)
        raise ValueError(f"{options}: not an option of --task {args.task}")
    values = {**presets[args.preset], **given, "preset": args.preset}
    if _is_smoke(args):
        values["datalist"] = smoke_phantoms(Path(args.out) / "phantoms", args.task)
    if not values.get("datalist"):
        raise ValueError("--datalist is wanted: the photographs to train on (only the preset smoke has its own)")
    return values
