"""Whether graders see the grade that was asked for, beside their agreement on photographs: graders are no truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import write_json
from monai_retina_gen.metrics import (
    accuracy_from_confusion,
    bootstrap_interval,
    grade_confusion_matrix,
    kappa_from_confusion,
    sensitivity_from_confusion,
)
from monai_retina_gen.networks import CrossFittedGraders
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.weights import (
    find_bundle,
    load_network,
    read_inference_config,
    sha256_file,
    split_bundle_name,
    weights_files,
)

from .image_sets import ImageSet

LABEL_CHECK_FILE = "label_check.json"
FEW_OF_A_GRADE = 10
FIGURES = {
    "agreement": accuracy_from_confusion,
    "kappa": kappa_from_confusion,
    "agreement_per_grade": sensitivity_from_confusion,
}


class GraderJudge:
    """A grader with its identity.

    The network gives `(B, 5)` logits of images in [0, 1], or is `CrossFittedGraders`, by which a photograph and its
    edits are judged out of fold. `image_size` is the side that it was trained at; 0 takes images as they come.
    """

    def __init__(
        self, network: nn.Module, *, name: str, sha256: str = "", image_size: int = 0, device: str = "cpu"
    ) -> None:
        self.network = network.to(device).eval()
        self.name, self.sha256, self.image_size, self.device = name, sha256, image_size, device

    @property
    def cross_fitted(self) -> bool:
        """Whether photographs are judged only by networks that never saw them."""
        return isinstance(self.network, CrossFittedGraders)

    def as_dict(self) -> dict[str, Any]:
        """Identity as plain values."""
        own = {"name": self.name, "sha256": self.sha256, "image_size": self.image_size}
        return {**own, "cross_fitted": self.cross_fitted}

    @torch.no_grad()
    def probabilities(self, images: Tensor, groups: Sequence[str | None] | None = None) -> Tensor:
        """`(B, grades)` on the CPU, of images in [0, 1]; `groups` are the photographs that they are, or are of."""
        seen = resized(images, self.image_size or images.shape[-1]).to(self.device)
        found: Tensor = self.network(seen, groups) if self.cross_fitted else self.network(seen).softmax(1)
        return found.float().cpu()

    def grades(self, images: ImageSet, batch_size: int = 32) -> Tensor:
        """Predicted grades, `(N,)`."""
        slices = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]
        return torch.cat([self.probabilities(images.floats(s), images.groups[s]).argmax(1) for s in slices])


def one_grader_warning(graders: Sequence[GraderJudge], more: str) -> list[str]:
    """A line where one grader judges alone that may know what it judges."""
    why = "where it was trained on the generator's photographs it may know them, not the label"
    alone = len(graders) == 1 and not graders[0].as_dict().get("cross_fitted")
    return [f"One grader, not cross-fitted: {why}. {more}"] if alone else []


def load_grader(name: str, device: str = "cpu") -> GraderJudge:
    """The grader of `BUNDLE` or `BUNDLE:CONFIG`, with its pinned weights."""
    bundle_name, config_name = split_bundle_name(name)
    bundle = find_bundle(bundle_name)
    config, network = read_inference_config(bundle, config_name), load_network(bundle, config_name=config_name)
    called = bundle.name if config_name == "inference" else f"{bundle.name}:{config_name}"
    # of several files: their hashes in a row
    sha256 = " ".join(sha256_file(bundle / file) for file in weights_files(config))
    size = int(config.get("image_size", 0))
    return GraderJudge(network, name=called, sha256=sha256, image_size=size, device=device)


def label_check(
    generated: ImageSet, real: ImageSet, graders: Sequence[GraderJudge], *, out: str | Path, seed: int = 0
) -> dict[str, Any]:
    """Agreement of graders with the grade asked for, over all and per grade, with intervals, beside photographs.

    Args:
        generated: generated or edited images, with the grades that were asked for.
        real: photographs that neither graders nor generator have been trained on.
        graders: the judges; several are given one by one and pooled, all gradings of an image drawn together.
        out: folder for `label_check.json`.
        seed: of the bootstrap.

    Returns:
        What `label_check.json` holds.

    Raises:
        ValueError: without a grader or images.
    """
    if not graders or not len(generated) or not len(real):
        came = f"{len(graders)} graders, {len(generated)} generated images and {len(real)} photographs came"
        raise ValueError(f"{came}; at least one of each is wanted")
    sets = {"generated": generated, "real": real}
    preds = {name: [grader.grades(images) for grader in graders] for name, images in sets.items()}
    result = {
        "kind": "label_check",
        "graders": [
            grader.as_dict() | {name: _agreement([preds[name][i]], sets[name], seed) for name in sets}
            for i, grader in enumerate(graders)
        ],
        **{name: _agreement(preds[name], sets[name], seed) for name in sets},
        "data": {"n_generated": len(generated), "n_real": len(real), "edits": sum(map(bool, generated.groups))},
        "warnings": _warnings(generated, real, graders),
    }
    write_json(result, Path(out) / LABEL_CHECK_FILE)
    return result


def _agreement(preds: Sequence[Tensor], images: ImageSet, seed: int) -> dict[str, Any]:
    target = torch.tensor(images.grades)
    groups = [group or f"image {i}" for i, group in enumerate(images.groups)] * len(preds)
    pooled, targets = torch.cat(list(preds)), target.repeat(len(preds))
    figures = {
        name: bootstrap_interval(pooled, targets, statistic, groups=groups, seed=seed).as_dict()
        for name, statistic in FIGURES.items()
    }
    confusion = grade_confusion_matrix(pooled, targets).tolist()
    return figures | {"confusion": confusion, "per_grade_n": target.bincount(minlength=5).tolist()}


def _warnings(generated: ImageSet, real: ImageSet, graders: Sequence[GraderJudge]) -> list[str]:
    found = one_grader_warning(graders, "Several independent graders say more.")
    for name, images in (("generated images", generated), ("photographs", real)):
        counts = torch.tensor(images.grades).bincount(minlength=5).tolist()
        few = [str(grade) for grade, count in enumerate(counts) if count < FEW_OF_A_GRADE]
        if few:
            grades = ", ".join(few)
            found.append(f"Fewer than {FEW_OF_A_GRADE} {name} of grade {grades}: no figure of theirs is reliable.")
    return found
