"""Label gate: does an edited or generated image still carry its label?

Cross-fitted graders judge each image; of an edit, a segmenter tells as well whether the vessels are left and whether
anything changed away from the lesions. The limits come from predictions on photographs that the judging grader was
not trained on, for a stated rate of false rejections (`monai-retina-gen model gate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from monai_retina_gen.editing.gate_limits import EDIT_TESTS, GateLimits
from monai_retina_gen.editing.gate_measures import (
    change_outside,
    grade_distance,
    grade_excess,
    lesion_neighbourhood,
    vessel_loss,
)
from monai_retina_gen.editing.lesion_masks import SEGMENTED_SHARE
from monai_retina_gen.engines import FundusSegmenter, load_segmenter
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.fork_safety import ForkSafeLock
from monai_retina_gen.networks import fold_batch_norm
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.weights import find_bundle, load_network, read_inference_config, read_metadata, split_bundle_name

DEFAULT_GRADERS = "retina_grader:cross_fitted"
DEFAULT_SEGMENTER = "retina_lesion_segmentation"
EDIT_SIDE = 128
"""Side in pixels to which an edit and its photograph are reduced for the graders: noise and focus, which are no
lesions, are gone there, and more planted changes are told from harmless ones."""
REASONS = {
    "probability_drop": "the probability of grade {grade} falls by {value:.2f}, more than {limit:.2f}",
    "grade_shift": "the expected grade moves {value:.2f} away from {grade}, more than {limit:.2f}",
    "vessel_loss": "the vessels agree to {left:.2f} (Dice), less than {left_limit:.2f}",
    "outside_change": "the image changes by {value:.4f} away from lesions, more than {limit:.4f}",
}


@dataclass
class GateVerdict:
    """What a gate says of a batch.

    Args:
        reasons: one string an image, `""` where it is accepted.
        judge: name of the gate, for records.
        measures: what was measured of each image, by name.
    """

    reasons: list[str]
    judge: str
    measures: list[dict[str, float]] = field(default_factory=list)


@runtime_checkable
class Gate(Protocol):
    """Anything that accepts or refuses generated images."""

    def check(
        self,
        images: Tensor,
        grades: Sequence[int],
        originals: Tensor | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> GateVerdict:
        """Judge `(B, 3, H, W)` images in [0, 1].

        `originals` are the photographs that were edited, if any, and `groups` the groups that they belong to.
        """
        ...


class LabelGate:
    """Accepts images that keep their label.

    A sample passes if neither the graders' expected grade is farther from its label, nor the grades beyond its label
    more probable, than for all but `false_rejection` of the photographs of that grade. An edit passes if neither the
    probability of its grade, nor the expected grade, nor the vessels, nor the image away from lesions change more than
    harmless changes (noise, exposure, focus) change them.

    Args:
        graders: `BUNDLE:CONFIG` of a `CrossFittedGraders` with a key `gate` in its configuration, or a network from
            `(images, groups)` to probabilities.
        segmenter: bundle of the segmenter, a `FundusSegmenter`, or `None`: vessels and surroundings are not compared.
            It is loaded with the first edit, and left out for images below half of its size.
        limits: see `GateLimits`; by default the configuration's.
        image_size: side at which the graders see images; by default the configuration's, 0 takes them as they come.
        device: where the networks run; `None` follows the images, so that the gate of a generator runs where it does.

    Raises:
        BundleNotFoundError, WeightsError: on first use, if a bundle, its weights or its limits are missing.
        ValueError: for a network without limits.

    Examples:
        >>> class Always2(nn.Module):
        ...     def forward(self, image, groups):
        ...         return torch.eye(5)[[2] * len(image)]
        >>> limits = GateLimits(0.1, {8: [1.2] * 5}, {8: [1.0] * 5}, 0.3, 0.5, 0.2, 0.01)
        >>> LabelGate(graders=Always2(), limits=limits).check(torch.zeros(2, 3, 8, 8), [2, 4]).reasons
        ['', "the graders' expected grade is 2.00 away from 4, more than 1.20"]
    """

    def __init__(
        self,
        *,
        graders: str | nn.Module = DEFAULT_GRADERS,
        segmenter: str | FundusSegmenter | None = DEFAULT_SEGMENTER,
        limits: GateLimits | Mapping[str, Any] | None = None,
        image_size: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if isinstance(graders, nn.Module) and limits is None:
            raise ValueError("limits are needed for graders that come without a bundle: see `gate`")
        self.graders, self.segmenter, self.image_size, self.device = graders, segmenter, image_size, device
        self.limits = GateLimits.from_dict(limits) if isinstance(limits, Mapping) else limits
        self._judge: _Judge | None = None
        self._segmenter: FundusSegmenter | None = None

    @torch.no_grad()
    def check(
        self,
        images: Tensor,
        grades: Sequence[int],
        originals: Tensor | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> GateVerdict:
        """Judge a batch; see `Gate`."""
        judge = self._load()
        measures = self.measure(images, grades, originals, groups)
        test = _sample_reason if originals is None else _edit_reason
        side = int(images.shape[-1])
        reasons = [test(m, g, side, judge.limits) for m, g in zip(measures, grades, strict=True)]
        return GateVerdict(reasons, judge.name, measures)

    @torch.no_grad()
    def measure(
        self,
        images: Tensor,
        grades: Sequence[int],
        originals: Tensor | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> list[dict[str, float]]:
        """The statistics alone, one dictionary an image; see `check`."""
        compared = images if originals is None else _reduced(images)
        labels, after = (range(len(grades)), list(grades)), self.probabilities(compared, groups)
        found = {
            "probability": after[labels],
            "grade_distance": grade_distance(after)[labels],
            "grade_excess": grade_excess(after)[labels],
        }
        if originals is not None:
            before = self.probabilities(_reduced(originals), groups)
            found["probability_drop"] = before[labels] - found["probability"]
            found["grade_shift"] = found["grade_distance"] - grade_distance(before)[labels]
            found |= self._surroundings(images, originals)
        return [{name: float(values[i]) for name, values in found.items()} for i in range(len(grades))]

    def probabilities(self, images: Tensor, groups: Sequence[str | None] | None = None) -> Tensor:
        """Probabilities `(B, grades)` of the graders, on the CPU."""
        judge, device = self._load(), self._place(images)
        seen = resized(images.to(device, torch.float32), judge.image_size)
        found: Tensor = judge.graders.to(device)(seen, groups).float().cpu()
        return found

    def _place(self, images: Tensor) -> torch.device:
        return images.device if self.device is None else torch.device(self.device)

    def _surroundings(self, images: Tensor, originals: Tensor) -> dict[str, Tensor]:
        device = self._place(images)
        segmenter = self._load_segmenter(device)
        if segmenter is None or images.shape[-1] < SEGMENTED_SHARE * segmenter.image_size:
            return {}
        after, before = (resized(x.to(device).float(), segmenter.image_size) for x in (images, originals))
        masks_after, masks_before = segmenter.masks(after), segmenter.masks(before)
        neighbourhood = lesion_neighbourhood(masks_after, masks_before)
        return {
            "vessel_loss": vessel_loss(masks_before["vessel"], masks_after["vessel"]).cpu(),
            "outside_change": change_outside(before, after, neighbourhood).cpu(),
        }

    def _load(self) -> _Judge:
        with _LOCK:
            if self._judge is None:
                self._judge = _load_judge(self.graders, self.limits, self.image_size)
            return self._judge

    def _load_segmenter(self, device: torch.device) -> FundusSegmenter | None:
        if not isinstance(self.segmenter, str):
            return self.segmenter
        with _LOCK:
            if self._segmenter is None or self._segmenter.device != device:
                # before and after are compared, so flips would cost four times as much for little
                self._segmenter = load_segmenter(self.segmenter, device=device, flips=False)
            return self._segmenter

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_judge": None, "_segmenter": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> LabelGate:
        return self


@dataclass
class _Judge:
    graders: nn.Module
    limits: GateLimits
    image_size: int
    name: str


_LOCK = ForkSafeLock()


def _load_judge(graders: str | nn.Module, limits: GateLimits | None, image_size: int | None) -> _Judge:
    if isinstance(graders, nn.Module):
        assert limits is not None  # checked by the constructor
        return _Judge(graders.eval(), limits, image_size or 0, type(graders).__name__)
    name, config_name = split_bundle_name(graders)
    bundle = find_bundle(name)
    config = read_inference_config(bundle, config_name)
    if limits is None and "gate" not in config:
        raise WeightsError(
            f"bundle {bundle}: configs/{config_name}.json has no limits under `gate`; make them with "
            "`monai-retina-gen model gate`, or pass `limits`"
        )
    found = limits or GateLimits.from_dict(config["gate"])
    size = int(config.get("image_size", 0)) if image_size is None else image_size
    network = fold_batch_norm(load_network(bundle, config_name=config_name))
    return _Judge(network, found, size, f"{graders} {read_metadata(bundle).get('version', '0')}")


def _reduced(images: Tensor) -> Tensor:
    return resized(images.float(), min(int(images.shape[-1]), EDIT_SIDE))


def _sample_reason(measures: Mapping[str, float], grade: int, side: int, limits: GateLimits) -> str:
    found = (measures["grade_distance"], measures["grade_excess"])
    texts = (
        "the graders' expected grade is {value:.2f} away from {grade}, more than {limit:.2f}",
        "the graders give the grades on one side of {grade} a probability of {value:.3f}, more than {limit:.3f}",
    )
    rows = zip(texts, found, limits.of_label(side, grade), strict=True)
    return "; ".join(text.format(value=value, grade=grade, limit=limit) for text, value, limit in rows if value > limit)


def _edit_reason(measures: Mapping[str, float], grade: int, side: int, limits: GateLimits) -> str:
    failed = []
    for name in EDIT_TESTS:
        value, limit = measures.get(name, float("-inf")), float(getattr(limits, name))
        if value > limit:
            left = {"left": 1 - value, "left_limit": 1 - limit}
            failed.append(REASONS[name].format(grade=grade, value=value, limit=limit, **left))
    return "; ".join(failed)


def resolve_gate(gate: str | Gate | None) -> Gate | None:
    """`None`, `"label"` (the default `LabelGate`) or a gate object; `ValueError` for anything else."""
    if gate is None:
        return None
    if gate == "label":
        return LabelGate()
    if isinstance(gate, Gate):
        return gate
    raise ValueError(f'gate {gate!r}: want None, "label", or an object with a method check(images, grades, originals)')
