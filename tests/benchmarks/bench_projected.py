"""The projected discriminator against the residual critic of `retina_wgan_gp` in equal time.

`python tests/benchmarks/bench_projected.py --seconds 300 [--overlay projected] [--option feature_size=128]`

Trains the bundle from nothing for so many seconds of one core (on a busy machine wall time is nobody's), with its
moving average, and gives KID of samples against the validation photographs in features that are in no loss (`lite2`)
and in colours (`pixels`), with the KID of training photographs beside it. One run, one seed: no verdict.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from torch import Tensor

import monai_retina_gen.weights  # noqa: F401  # what the configuration's expressions name
from monai_retina_gen.evidence.evaluation.extractor import load_extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, photographs, sampled_images
from monai_retina_gen.metrics.kernel import kernel_distance

BUNDLE = Path(__file__).parents[2] / "bundles" / "retina_wgan_gp"


def train(overlay: str, seconds: float, options: dict[str, Any]) -> ConfigParser:
    """The bundle's parser after so many seconds of training."""
    configs = ["train", *([overlay] if overlay else [])]
    parser = ConfigParser.load_config_files([BUNDLE / "configs" / f"{name}.json" for name in configs])
    parser = ConfigParser(
        {**parser, "bundle_root": str(BUNDLE), "max_epochs": 10_000, "val_interval": 10_000, **options}
    )
    parser["train"]["handlers"] = [h for h in parser["train"]["handlers"] if "EMA" in h["_target_"]]
    torch.manual_seed(int(options.get("seed", 0)))
    trainer = parser.get_parsed_content("train#trainer")
    started = time.process_time()

    def stop(engine: Engine) -> None:
        if time.process_time() - started > seconds:
            engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    trainer.run()
    return parser


def kid(real: Tensor, generated: Tensor) -> float:
    """Unbiased KID."""
    return float(kernel_distance(real, generated).mean)


def main() -> None:
    """Print one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=300)
    arguments.add_argument("--overlay", default="", help="configuration beside train.json, such as projected")
    arguments.add_argument("--option", nargs="*", default=[], help="KEY=VALUE of the configuration")
    arguments.add_argument("--samples", type=int, default=2, help="for each validation photograph, of its grade")
    arguments.add_argument("--grid", help="PNG of samples to write")
    args = arguments.parse_args()
    options = {key: json.loads(value) for key, value in (o.split("=", 1) for o in args.option)}
    parser = train(args.overlay, args.seconds, {"device": "cpu", "num_workers": 0, **options})
    data, size = parser.get_parsed_content("data"), int(parser["image_size"])
    generator = parser.get_parsed_content("generator")
    shown = data["training"][:: len(data["training"]) // len(data["validation"])]
    real: dict[str, ImageSet] = {
        "validation": photographs(data["validation"], size),
        "training": photographs(shown, size),
    }
    made = sampled_images(generator, real["validation"].grades * args.samples, seed=10**6)
    state = parser.get_parsed_content("train#trainer").state
    found = {"overlay": args.overlay, **options, "epochs": state.epoch, "critic_steps": state.iteration}
    for name in ("lite2", "pixels"):
        extractor = load_extractor(name)
        features = {kind: images.features(extractor) for kind, images in {**real, "made": made}.items()}
        found[f"kid_{name}"] = kid(features["validation"], features["made"])
        found[f"floor_{name}"] = kid(features["validation"], features["training"])
    print(json.dumps(found))
    if args.grid:
        from torchvision.utils import save_image

        grid = sampled_images(generator, [g for g in range(5) for _ in range(8)], seed=0)
        save_image(grid.floats(), args.grid, nrow=8)


if __name__ == "__main__":
    main()
