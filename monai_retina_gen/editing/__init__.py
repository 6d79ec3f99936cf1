"""Work on generated images and latent spaces: for now the label gate; style-space editing joins it."""

from monai_retina_gen.editing.label_gate import Gate, GateVerdict, LabelGate, resolve_gate

__all__ = ["Gate", "GateVerdict", "LabelGate", "resolve_gate"]
