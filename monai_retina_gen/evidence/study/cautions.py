"""What a reader of a study's figures has to know: small sets, unknown patients, generators that saw the photographs."""

from __future__ import annotations

from monai_retina_gen.metrics import FEWEST_SEEDS

from .config import StudyConfig
from .material import Material

__all__ = ["study_warnings"]

FEW = 10


def study_warnings(config: StudyConfig, material: Material, patients: str) -> list[str]:
    """Lines to be printed with the figures.

    Args:
        config: the study's settings.
        material: its photographs.
        patients: `datalist["patients"]`.
    """
    lines = []
    if patients == "unknown":
        lines.append(
            "Patients are unknown: the split is by photograph, two eyes of one patient can fall on both sides, and all "
            "figures may be too good. Intervals are by photograph."
        )
    for name, photographs in {"validation": material.validation, **material.tests}.items():
        labels = photographs.labels.tolist()
        few = {label: labels.count(label) for label in range(config.num_classes) if labels.count(label) < FEW}
        if few:
            counts = ", ".join(f"{count} of label {label}" for label, count in few.items())
            lines.append(f"{name}: {len(labels)} photographs, only {counts}: sensitivities of those mean little.")
    if config.seeds < FEWEST_SEEDS:
        lines.append(
            f"{config.seeds} seed(s) for each arm: how much results vary from training to training is hardly seen, and "
            f"there is no verdict below {FEWEST_SEEDS}."
        )
    seen = sorted(set(material.generators) - set(config.unseen))
    if config.cross_validation and seen:
        lines.append(
            f"Cross-validation judges photographs that {', '.join(seen)} may have seen in training: arms with them may "
            "be too good there and get no verdict. Only the test split and external sets are clean."
        )
    if config.cross_validation and any(name.endswith("--gated") for name in config.policies):
        lines.append(
            "The gate's graders may have seen the photographs that cross-validation judges, like the generators."
        )
    if config.severe_share < 1:
        gate = " and the gate" * any(name.endswith("--gated") for name in config.policies)
        lines.append(
            f"Only {config.severe_share:g} of the training photographs of grades 3 and 4 are there, but the generators"
            f"{gate} may have seen the others: no verdict on what generation does where photographs are rare."
        )
    if config.preset == "smoke":
        lines.append(
            "Preset smoke: phantoms and a handful of steps. The figures show that everything runs and nothing else."
        )
    return lines
