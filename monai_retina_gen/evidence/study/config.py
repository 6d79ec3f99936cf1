"""Settings of a study: plain values that are written beside its results and checked when it goes on; and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.data import GRADE_MAPS, LabelGrades, write_phantoms
from monai_retina_gen.generators import DRGANGenerator, VAEGenerator
from monai_retina_gen.networks import DRGAN, FundusVAE
from monai_retina_gen.networks.fundus_grader import BACKBONES

ARMS = {
    "none": "the photographs as they are",
    "flip": "random flips",
    "rotate": "random rotation by up to 30 degrees",
    "color": "random brightness, contrast and saturation",
    "classic": "flips, rotation, scale, shift and colour",
    "oversample": "every grade equally often, with classic augmentation: the baseline of all comparisons",
    "reconstruct": "control of `sample` and `synthesize`: the replaced photographs only pass through the generator",
    "texture-matched": "control of every generative arm: the replaced photographs are only brought to its images' blur",
    "nothing-new": "control of `edit` by painting: painted in the same places, with what they show already",
    "sample": "as `oversample`, with the photographs added by oversampling replaced by generated ones",
    "sample-uniform": "as `sample` with the same number of generated images, but an equal share in every grade",
    "edit": "as `sample`, with edits of the same eye, grades 2-4",
    "canvas": "as `sample`, with healthy eyes that lesions are painted on, grades 2 and 3",
    "edit-canvas": "as `edit`, every second replacement of grades 2 and 3 a canvas",
    "synthesize": "as `sample`, with images made from the photographs' masks, lesions composed after the grade",
}
"""Arms by name, with what they do. The last six are generative; the three before them are their controls, which run
once for each arm that they control and replace what it replaces, as often."""

SELECTIONS = ("average", "validation")
PLACES = ("datalist", "dataset_dir", "masks", "external")
"""Settings that say where photographs lie, which is nothing that a result depends on."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Settings of a study; a `ValueError` names the setting, what came and what is wanted.

    Args:
        datalist: as `load_datalist` takes it: a name, a folder, a JSON or CSV file, or a dictionary.
        out: folder of the results; made, or gone on with where it was stopped.
        dataset_dir: folder of a named data set.
        masks: datalist of the same photographs with predicted masks; annotated ones win.
        external: datalists of other data sets; all their graded photographs are judged.
        label_key: key of the grade, or label, in the datalists.
        grade_map: name in `GRADE_MAPS` for graders that learn fewer labels; `None` for grades 0-4.
        label_grades: what labels stand for where datalists have labels in place of grades, see `LabelGrades`.
        arms: names in `ARMS`.
        graders: backbones of `FundusGrader`.
        init_weights: what they start from: `imagenet`, a file, or empty for weights drawn at random.
        seeds: training runs of every arm and grader, with seeds 0, 1...; fewer than five give no verdict.
        ratios: shares of the photographs added by balancing that are generated; 1 is all of them.
        policies: further conditions by name, such as `edit--retina_drgan--share0.3--gated`: a `share` of the
            photographs shown of each of the arm's grades, without what the gate refuses.
        gate: judges the images of gated policies: `label`, or `BUNDLE:CONFIG` of other cross-fitted graders.
        severe_share: share of the training photographs of grades 3 and 4 that are there at all, redrawn with each seed,
            smaller shares within larger ones; what is made of photographs is made of what is left.
        cross_validation: folds over training and validation photographs; 0 keeps the datalist's split.
        image_size: side of the images in pixels.
        max_epochs: epochs; the number of optimiser steps is the same in all arms.
        batch_size: images a step.
        learning_rate: of AdamW, with a cosine schedule to 0.
        weight_decay: of AdamW; 0 makes it Adam.
        label_smoothing: of the cross entropy, which is not weighted: balancing is what the arms differ in.
        dropout: before the grader's last layer.
        classic: recipe of the classic augmentations, `default` or `cheng2021`.
        bank_size: generated images per grade, made ahead.
        lesions: lesions that the arm `edit` draws from, for generators with directions.
        strength: range of the edit strength along directions, shares of the calibrated range in [-1, 1].
        step: unit of that strength, `sigma`, `mu` or `max`; empty for the directions' own.
        amp: train in bfloat16 autocast; `None` does so on every device but the CPU.
        device: where graders and generators run.
        selection: `average` takes the moving average of the weights at the end of a fixed schedule; `validation` the
            weights of the epoch with the best kappa on validation, which few photographs choose badly.
        primary: condition, named before any run, that is compared with `oversample` in the primary comparison; empty
            for the one with the best kappa on validation.
        unseen: generators made without the photographs of `datalist`; others get no verdict in cross-validation.
        preset: name of the preset that these settings come from, for the record.

    Examples:
        >>> StudyConfig(datalist="idrid", out="study", arms=("none", "magic"))
        Traceback (most recent call last):
        ...
        ValueError: arms: unknown ['magic']; choose from none, flip, rotate, color, classic, oversample, ...
    """

    datalist: str | Mapping[str, Any]
    out: str
    dataset_dir: str | None = None
    masks: str = ""
    external: tuple[str, ...] = ()
    label_key: str = "grade"
    grade_map: str | None = None
    label_grades: Mapping[Any, Any] | None = None
    arms: tuple[str, ...] = ("none", "classic", "oversample", "reconstruct", "texture-matched", "sample")
    graders: tuple[str, ...] = ("resnet18",)
    init_weights: str = ""
    seeds: int = 5
    ratios: tuple[float, ...] = (1.0,)
    policies: tuple[str, ...] = ()
    gate: str = "label"
    severe_share: float = 1.0
    cross_validation: int = 0
    image_size: int = 128
    max_epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    dropout: float = 0.2
    classic: str = "default"
    bank_size: int = 200
    lesions: tuple[str, ...] = ("ex",)
    strength: tuple[float, float] = (-1.0, 1.0)
    step: str = ""
    amp: bool | None = None
    device: str = "cpu"
    selection: str = "average"
    primary: str = ""
    unseen: tuple[str, ...] = ()
    preset: str = ""

    def __post_init__(self) -> None:
        check_names("arms", self.arms, ARMS)
        check_names("graders", self.graders, BACKBONES)
        check_names("classic", (self.classic,), ("default", "cheng2021"))
        check_names("selection", (self.selection,), SELECTIONS)
        check_names("grade_map", (self.grade_map or "binary",), GRADE_MAPS)
        if self.label_grades is not None and self.grade_map:
            raise ValueError("grade_map and label_grades: one of them; a datalist has grades to map, or labels")
        if self.label_grades is not None:
            LabelGrades(self.label_grades)  # says what is wrong
        if not self.ratios or not all(0 < ratio <= 1 for ratio in self.ratios):
            raise ValueError(f"ratios: {self.ratios} came, shares above 0 and up to 1 are wanted")
        check_share("severe_share", self.severe_share)
        for name in ("seeds", "image_size", "max_epochs", "batch_size", "bank_size"):
            check_whole(name, getattr(self, name))
        if self.cross_validation != 0 and self.cross_validation < 3:
            came = f"cross_validation: {self.cross_validation} came"
            raise ValueError(f"{came}; 0, or at least 3 folds: one judges, one selects, the others train")

    @property
    def autocast(self) -> bool:
        """Whether graders train in bfloat16."""
        return not self.device.startswith("cpu") if self.amp is None else self.amp

    @property
    def num_classes(self) -> int:
        """Labels that the graders learn."""
        if self.label_grades is not None:
            return max(LabelGrades(self.label_grades).labels) + 1
        return 5 if self.grade_map is None else max(GRADE_MAPS[self.grade_map].values()) + 1

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, without the folder, so that equal studies have equal settings."""
        values = asdict(self)
        del values["out"]
        if not isinstance(self.datalist, str):
            values["datalist"] = self.datalist.get("name", "a dictionary")
        return values


def check_share(setting: str, share: float) -> None:
    """A share above 0 and up to 1."""
    if not 0 < share <= 1:
        raise ValueError(f"{setting}: {share} came, a share above 0 and up to 1 is wanted")


def check_names(setting: str, names: tuple[str, ...], known: Any) -> None:
    """At least one known name, each once."""
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"{setting}: unknown {unknown or 'empty list'}; choose from {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{setting}: {list(names)} names one twice; give each once")


PRESETS: dict[str, dict[str, Any]] = {
    # Zhao et al. 2023, section 3 "Experimental Settings": VGG16, learning rate 0.001; Table 2: none, flipping, rotation
    # by 30 degrees, edits of exudates in grades 2-4 with a strength in (-0.6, 0.6). Grades 0-4 as for APTOS; for the
    # paper's ODIR-5K columns (DR or not) add --grade-map binary. Images have 256 px.
    "zhao2023": {
        "arms": ("none", "flip", "rotate", "oversample", "reconstruct", "texture-matched", "sample", "edit"),
        "graders": ("vgg16",),
        "image_size": 256,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "lesions": ("ex",),
        "strength": (-0.6, 0.6),
        "step": "mu",
    },
    # Zhou et al., section IV-D and Tables III-V: VGG-16, ResNet-50 and Inception-v3, trained on photographs with and
    # without synthesised images; flips and rotation are named as the usual augmentation in the abstract. The grader's
    # hyper-parameters are not given; learning rate and batch are those that section IV-A gives for the generator. The
    # paper's 1280 px are --image-size 1280 on a GPU.
    "drgan": {
        "arms": ("none", "classic", "oversample", "reconstruct", "texture-matched", "sample", "synthesize"),
        "graders": ("vgg16", "resnet50", "inception_v3"),
        "image_size": 256,
        "learning_rate": 1e-4,
        "batch_size": 16,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
    },
    # Cheng and Ye, Table 1 and the section on evaluation: ResNet-101 and DenseNet-121, batch 64, learning rate 0.0001,
    # 40 epochs, 64 px; none, classic, classic + GAN; the recipe of "Classic Data Augmentation".
    "cheng2021": {
        "arms": ("none", "classic", "oversample", "reconstruct", "texture-matched", "sample"),
        "graders": ("resnet101", "densenet121"),
        "image_size": 64,
        "max_epochs": 40,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "classic": "cheng2021",
    },
    # Manasa and Morampudi, section V: 100 generated images of every class, used with the photographs; "a CNN" without
    # any detail. Its data are APTOS, grades 0-4.
    "manasa": {
        "arms": ("none", "oversample", "reconstruct", "texture-matched", "sample", "sample-uniform"),
        "graders": ("resnet18",),
        "bank_size": 100,
    },
    # What graders that can see reach: EfficientNet-Lite1 from ImageNet (extra `pretrained`), which teaches and judges
    # nothing else here. The baselines alone; other arms are added by --arms.
    "imagenet": {
        "arms": ("none", "oversample"),
        "graders": ("efficientnet_lite1",),
        "init_weights": "imagenet",
        "image_size": 224,
        "max_epochs": 20,
        "batch_size": 32,
    },
    # Hours on two cores.
    "cpu": {
        "arms": ("none", "classic", "oversample", "reconstruct", "texture-matched", "sample", "edit", "synthesize"),
        "lesions": ("ex", "he"),
    },
    # A test that everything runs; its figures mean nothing.
    "smoke": {
        "arms": ("none", "oversample", "reconstruct", "texture-matched", "sample", "edit"),
        "seeds": 2,
        "image_size": 48,
        "max_epochs": 1,
        "batch_size": 16,
        "bank_size": 6,
    },
}
"""Settings of the published evaluations, one for two CPU cores, and one for tests; all can be overridden.

What a paper does not give is the default of `StudyConfig`, and `oversample` is in every preset, because the comparison
that a study is made for is against it; the papers compare with less.
"""


SMOKE_PHANTOMS: dict[str, dict[str, Any]] = {
    "grading": {"count": 60, "grades": (0, 0, 1, 2, 2, 3, 4), "splits": (0.6, 0.2, 0.2), "masks": False},
    "segmentation": {"count": 20, "grades": (3, 2, 4), "splits": (0.6, 0.0, 0.4)},
}


def smoke_phantoms(folder: Path, task: str) -> str:
    """Write phantoms, if they are not there; returns the path of their datalist."""
    path = folder / "datalist.json"
    if not path.is_file():  # the field of view is a little smaller than the file
        write_phantoms(folder, size=72, **SMOKE_PHANTOMS[task])
    return str(path)


def smoke_generator() -> VAEGenerator:
    """A tiny variational autoencoder with the same random weights on every machine: it draws grey blurs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAEGenerator(FundusVAE(image_size=64, latent_dim=8, channels=(8, 8, 16, 16)))


def smoke_synthesizer() -> DRGANGenerator:
    """A tiny DR-GAN with the same random weights on every machine: its images mean nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DRGAN(base_width=4, residual_blocks=1, grading_vectors=False)
        return DRGANGenerator(network, image_size=64)
