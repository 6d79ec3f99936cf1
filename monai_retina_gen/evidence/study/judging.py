"""The label gate in a study: what it refuses replaces no photograph."""

from __future__ import annotations

import torch

from monai_retina_gen.editing import Gate, LabelGate

from .alternative_images import Alternatives
from .config import StudyConfig
from .photographs import Photographs

__all__ = ["judge", "judged_by"]

BATCH = 64


def judged_by(config: StudyConfig) -> Gate:
    """The gate that a study names."""
    return LabelGate() if config.gate == "label" else LabelGate(graders=config.gate)


def judge(made: Alternatives, photographs: Photographs, gate: Gate, config: StudyConfig, *, edits: bool) -> list[bool]:
    """Whether the gate accepts each image, once and as it is: weaker edits are not tried in place of refused ones.

    Args:
        made: images whose `sources` are known.
        photographs: those that they were made of.
        gate: judges; a photograph and what was made of it by the grader that was not trained on it.
        config: the study's settings.
        edits: the images show their source's grade, and are compared with it; canvases show another one.
    """
    accepted = []
    for rows in torch.arange(len(made.images)).split(BATCH):
        images = made.images[rows].to(config.device).float() / 255
        sources = [made.sources[row] for row in rows.tolist()]
        originals = photographs.floats(sources).to(config.device) if edits else None
        groups = [photographs.groups[row] for row in sources]
        verdict = gate.check(images, [made.grades[row] for row in rows.tolist()], originals, groups)
        accepted += [not reason for reason in verdict.reasons]
    return accepted
