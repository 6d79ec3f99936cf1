"""Arms of a study: which conditions there are, which make no sense and why, and how often an image is replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from monai_retina_gen.data import balance_probabilities
from monai_retina_gen.editing.painting import SMALLEST_SIDE
from monai_retina_gen.generators import LesionPainterGenerator, RetinaGenerator
from monai_retina_gen.generators.lesion_painting import HEALTHY, LesionPainting

from .config import StudyConfig
from .photographs import Photographs

GENERATIVE = ("sample", "sample-uniform", "edit", "canvas", "edit-canvas", "synthesize")
CONTROLS = {
    "reconstruct": ("sample", "synthesize"),
    "texture-matched": ("sample", "synthesize", "edit", "canvas", "edit-canvas"),
    "nothing-new": ("edit", "edit-canvas"),
}
"""Generative arms by their control: it replaces what the arm replaces, at its resolution, with nothing new in it.

An edit changes a photograph only around its lesions: one that went through the generator as a whole would differ in
resolution too.
"""
JUDGED = ("edit", "canvas", "edit-canvas")
"""Arms whose images the label gate can judge one by one, because it is known which photograph each was made of."""
BASELINE = "oversample"
EDITED_GRADES = (2, 3, 4)  # grade 1 has no exudates yet: Zhao et al. 2023, section 3
CANVAS_GRADES = (2, 3)  # nothing that is painted makes a 4
PAINTED = ("canvas", "edit-canvas", "nothing-new")
_MODE = {"sample-uniform": "sample", "canvas": "synthesize", "edit-canvas": "edit", "nothing-new": "edit"}


_NAME = re.compile(
    r"(?P<arm>[a-z-]+?)(-of-(?P<of>[a-z-]+))?--(?P<generator>.+?)--(share(?P<share>[\d.]+)|(?P<ratio>[\d.]+))"
    r"(?P<gated>--gated)?"
)


@dataclass(frozen=True)
class Condition:
    """An arm with its generator, and how much it replaces."""

    arm: str
    generator: str = ""  # name; empty for an arm without one
    ratio: float = 0.0  # share of the photographs that balancing adds; 0 where `share` says how many
    of: str = ""  # the generative arm that a control controls
    share: float = 0.0  # share of the photographs shown of each of the arm's grades, the same for all
    gated: bool = False  # only what the label gate accepts replaces photographs

    @property
    def id(self) -> str:
        """Name in tables and folders.

        Examples:
            >>> Condition("edit", "retina_drgan", share=0.3, gated=True).id
            'edit--retina_drgan--share0.3--gated'
        """
        arm = f"{self.arm}-of-{self.of}" if self.of else self.arm
        amount = f"share{self.share:g}" if self.share else f"{self.ratio:g}"
        return f"{arm}--{self.generator}--{amount}{'--gated' * self.gated}" if self.generator else arm

    @classmethod
    def parse(cls, name: str) -> Condition:
        """The condition of an `id`; a `ValueError` for a text that is none."""
        found = _NAME.fullmatch(name)
        if found is None or not (0 < float(found["share"] or found["ratio"]) <= 1):
            form = (
                "ARM--GENERATOR--RATIO or ARM--GENERATOR--shareSHARE, numbers above 0, up to 1, with --gated for a gate"
            )
            arms = f"{', '.join(GENERATIVE)} and controls as nothing-new-of-edit"
            raise ValueError(f"{name!r}: wanted {form}; arms are {arms}")
        ratio, share = float(found["ratio"] or 0), float(found["share"] or 0)
        arm, generator, of = found["arm"], found["generator"], found["of"] or ""
        condition = cls(arm, generator, ratio, of, share, bool(found["gated"]))
        if arm not in GENERATIVE and of not in CONTROLS.get(arm, ()):
            raise ValueError(f"{name!r}: unknown arm {arm!r}{f' of {of!r}' if of else ''}")
        return condition


def expand_arms(
    config: StudyConfig, generators: Mapping[str, RetinaGenerator], photographs: Photographs
) -> tuple[list[Condition], list[str]]:
    """Conditions to run, and a line for everything that is left out.

    Controls run at the largest ratio only, where an effect of texture is strongest.
    """
    conditions, skipped = [], []
    for arm in config.arms:
        if arm not in (*GENERATIVE, *CONTROLS):
            conditions.append(Condition(arm))
            continue
        if not generators:
            skipped.append(f"{arm}: left out, no generator was given")
        for name, generator in generators.items():
            lacking = sorted(generator.missing_grades & set(photographs.grades))
            if lacking and arm in ("sample", "sample-uniform"):
                skipped.append(f"{arm} with {name}: photographs of grades {lacking} stay, the generator has none")
            if arm in CONTROLS:
                found, reason = _controls(arm, name, generator, config, photographs)
            else:
                reason = _why_not(arm, generator, config, photographs)
                found = [Condition(arm, name, ratio) for ratio in sorted(config.ratios)]
            conditions += [] if reason else found
            skipped += [f"{arm} with {name}: left out, {reason}"] if reason else []
    policies = _policies(config, generators, photographs)
    return conditions + [policy for policy in policies if policy not in conditions], skipped


def _policies(
    config: StudyConfig, generators: Mapping[str, RetinaGenerator], photographs: Photographs
) -> list[Condition]:
    """Conditions that are asked for by name: each runs, or is an error."""
    found = []
    for name in config.policies:
        condition = Condition.parse(name)
        known = generators.get(condition.generator)
        if known is None:
            raise ValueError(f"policies: {name!r} wants a generator that is not there: only {sorted(generators)}")
        for arm in (condition.arm, condition.of):
            wanted = arm not in ("", "texture-matched")
            if wanted and (reason := _why_not(arm, known, config, photographs)):
                raise ValueError(f"policies: {name!r} cannot run, {reason}")
        if condition.gated and (condition.of or condition.arm) not in JUDGED:
            raise ValueError(f"policies: {name!r}: a gate judges {', '.join(JUDGED)}, and their controls go with them")
        found.append(condition)
    return found


def _controls(
    arm: str, name: str, generator: RetinaGenerator, config: StudyConfig, photographs: Photographs
) -> tuple[list[Condition], str]:
    """A control for each generative arm of the study that runs and that it controls, or why there is none."""
    reason = "" if arm == "texture-matched" else _why_not(arm, generator, config, photographs)
    of = [a for a in config.arms if a in CONTROLS[arm] and not _why_not(a, generator, config, photographs)]
    if not of and not reason:
        reason = f"it controls {', '.join(CONTROLS[arm])}, and none of them runs"
    return [Condition(arm, name, max(config.ratios), of=each) for each in of], reason


def bank_mode(arm: str, generator: RetinaGenerator, arms: Sequence[str]) -> str:
    """Mode in which the images of an arm are generated: `sample` or `synthesize`.

    Figures of the images themselves (`arm=""`) take the images of the study's generative arms.
    """
    if "synthesize" not in generator.modes:
        return "sample"
    sampled = {"sample", "sample-uniform"}
    chosen = {arm} if arm in sampled | {"synthesize"} else set(arms)
    wants_samples = bool(chosen & sampled) or "synthesize" not in chosen
    return "sample" if "sample" in generator.modes and wants_samples else "synthesize"


def _why_not(arm: str, generator: RetinaGenerator, config: StudyConfig, photographs: Photographs) -> str:
    mode = _MODE.get(arm, arm)
    if mode not in generator.modes:
        return f"the generator has no mode {mode!r} (it has {', '.join(sorted(generator.modes))})"
    if mode != "sample" and not photographs.own_grades:
        return f"mode {mode!r} goes by the photographs' own grades, and their labels stand for several"
    # an edit changes the photograph only around its lesions, at the photograph's own resolution
    if arm in PAINTED or (arm == "edit" and paints(generator)):
        if not paints(generator):
            return "the generator paints no photographs"
        if generator.composer is None:
            return "the generator has no lesion bank"
        if config.image_size < SMALLEST_SIDE:
            return f"painting wants at least {SMALLEST_SIDE} px, the study has {config.image_size}"
    if arm == "edit-canvas" and "synthesize" not in generator.modes:
        return "the generator paints no canvases"
    if arm in ("sample", "synthesize", "sample-uniform") and isinstance(generator, LesionPainterGenerator):
        return "it paints on photographs and draws no whole eyes"
    if arm in ("canvas", "edit-canvas") and HEALTHY not in photographs.grades:
        return "there are no healthy photographs to be canvases"
    if generator.image_size < config.image_size and arm not in ("edit", *PAINTED):
        return (
            f"its images have {generator.image_size} px and the study {config.image_size} px; enlarged images would be "
            "told by their blur (use a smaller image_size)"
        )
    if max(photographs.grades) >= generator.num_classes:
        return f"it knows grades 0-{generator.num_classes - 1} only"
    if arm == "synthesize" and not any("vessel" in item for item in photographs.items):
        return "the training photographs have no masks (vessel); --masks adds predicted ones"
    if not any(replacement_probabilities(Condition(arm, "-", 1.0), photographs).values()):
        return "the grades that it could add are not rarer than the others: nothing would be generated"
    return ""


def replacement_probabilities(condition: Condition, photographs: Photographs) -> dict[int, float]:
    """Probability, by label, that a drawn photograph is replaced.

    With labels drawn equally often, `1 - n_g / max(n)` shows every photograph as often as without balancing and
    generates the rest; the ratio scales that share. `sample-uniform` spends as many images evenly, a `share` is the
    probability itself, and a control has those of the arm that it controls.
    """
    arm = condition.of or condition.arm
    labels = photographs.labels.tolist()
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    if arm not in (*GENERATIVE, *CONTROLS):
        return dict.fromkeys(counts, 0.0)
    share = {label: condition.ratio * p for label, p in balance_probabilities(counts).items()}
    share = dict.fromkeys(counts, condition.share) if condition.share else share
    if arm == "sample-uniform":
        return dict.fromkeys(share, sum(share.values()) / len(share))
    if arm in ("edit", "canvas", "edit-canvas"):
        grades = CANVAS_GRADES if arm == "canvas" else EDITED_GRADES
        edited = {label for label, grade in zip(labels, photographs.grades, strict=True) if grade in grades}
        return {label: p if label in edited else 0.0 for label, p in share.items()}
    return share


def paints(generator: RetinaGenerator) -> TypeGuard[LesionPainting]:
    """Whether a generator edits photographs by painting."""
    return isinstance(generator, LesionPainting) and generator.painter is not None
