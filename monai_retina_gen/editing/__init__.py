"""Work on generated images and latent spaces: for now the label gate; style-space editing joins it."""

from monai_retina_gen.editing.gate_limits import GateLimits, joint_limits, lower_limit
from monai_retina_gen.editing.label_gate import Gate, GateVerdict, LabelGate, resolve_gate
from monai_retina_gen.editing.planted_changes import erase_lesions, harmless_change, transplant_lesions

__all__ = [
    "Gate",
    "GateLimits",
    "GateVerdict",
    "LabelGate",
    "erase_lesions",
    "harmless_change",
    "joint_limits",
    "lower_limit",
    "resolve_gate",
    "transplant_lesions",
]
