"""Training a bundle's generator and critic on a datalist, by the bundle's own `configs/train.json`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import Tensor, nn
from tqdm import tqdm

from monai_retina_gen.data import Item
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, to_bytes
from monai_retina_gen.generators import GANGenerator, RetinaGenerator
from monai_retina_gen.generators.content_record import files_sha256
from monai_retina_gen.weights import find_bundle, latest_checkpoint, load_state, sha256_file

STATE = "training_state.pt"


class Trained(NamedTuple):
    """What a training leaves: a generator that samples, and its critic `(images in [-1, 1], grades) -> (B,)`."""

    generator: RetinaGenerator
    critic: Callable[[Tensor, Tensor | None], Tensor]


Trainer = Callable[[Path, Path], Trained]
"""Trains on the datalist at the first path, writes into the folder at the second, and goes on with what is there."""


class BundleTrainer:
    """Runs `python -m monai.bundle run` on the training configuration of a bundle with a generator and a critic.

    Both are those of the end of training, the generator as moving average: the checkpoint that the bundle selects on
    validation photographs would flatter figures against these.
    """

    def __init__(
        self, bundle: str | Path, *, preset: str = "", overrides: Mapping[str, Any] | None = None, device: str = "cpu"
    ) -> None:
        self.bundle, self.device = find_bundle(bundle), device
        names = ["train.json", *([f"{preset}.json"] if preset else [])]
        self.configs = [self.bundle / "configs" / name for name in names]
        missing = [str(path) for path in self.configs if not path.is_file()]
        if missing:
            raise WeightsError(f"bundle {self.bundle} has no {', '.join(missing)}: name one that trains a generator")
        self.overrides = dict(overrides or {})

    def settings(self) -> dict[str, Any]:
        """What a training depends on, as plain values."""
        configs = {path.name: sha256_file(path) for path in self.configs}
        files = files_sha256(self.overrides)
        return {"bundle": self.bundle.name, "configs": configs, "overrides": self.overrides, "files": files}

    def load_photographs(self, items: Sequence[Item]) -> ImageSet:
        """Graded photographs as training reads them: through the configuration's `load_transforms`."""
        load = Compose(self._parse("load_transforms"))
        images = [load({"image": item["image"]})["image"] for item in tqdm(items, desc="photographs", leave=False)]
        return ImageSet.of_items([to_bytes(image) for image in images], items)

    def __call__(self, datalist: Path, folder: Path) -> Trained:
        """Train, or go on, or take what was trained before; see `Trainer`."""
        state = folder / STATE
        if not state.is_file():
            command = [sys.executable, "-m", "monai.bundle", "run", *self._arguments(datalist, folder)]
            if subprocess.run(command, check=False).returncode:
                raise RuntimeError(f"training of {self.bundle.name} on {datalist} failed; its messages stand above")
        weights = load_state(state)
        generator = GANGenerator(self._network("network_def", weights, "ema"), curated=False)
        generator.identify(name=self.bundle.name, version="trained", weights_sha256=sha256_file(state))
        critic = self._network("discriminator_def", weights, "discriminator").to(self.device)
        return Trained(generator.to(self.device), critic)

    def _arguments(self, datalist: Path, folder: Path) -> list[str]:
        values = {
            "bundle_root": str(self.bundle),
            "datalist": str(datalist.absolute()),
            "dataset_dir": str(datalist.parent.absolute()),
            "output_dir": str(folder.absolute()),
            **self.overrides,
        }
        with suppress(WeightsError):  # where nothing was trained yet
            values |= {"resume": True} if latest_checkpoint(folder) else {}
        files = json.dumps([str(path) for path in self.configs])
        words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
        return ["--config_file", files, *(word for key, value in words.items() for word in (f"--{key}", value))]

    def _network(self, key: str, weights: Mapping[str, Tensor], prefix: str) -> nn.Module:
        network: nn.Module = self._parse(key)
        own = {name.removeprefix(f"{prefix}."): v for name, v in weights.items() if name.startswith(f"{prefix}.")}
        network.load_state_dict(own)
        return network.eval().requires_grad_(False)

    def _parse(self, key: str) -> Any:
        parser = ConfigParser(ConfigParser.load_config_files([str(path) for path in self.configs]))
        for name, value in self.overrides.items():
            parser[name] = value
        return parser.get_parsed_content(key)


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` words; a value that is JSON is read as such."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"--override {pair!r}: KEY=VALUE is wanted, such as batch_size=8")
        try:
            found[key] = json.loads(text)
        except json.JSONDecodeError:
            found[key] = text
    return found
