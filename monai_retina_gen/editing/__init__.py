"""Edits of lesions: painted on photographs, or in the style space of a generator; and the label gate over both."""

from monai_retina_gen.editing.edit_request import EditRequest, parse_lesions
from monai_retina_gen.editing.gate_limits import GateLimits, joint_limits, label_limits
from monai_retina_gen.editing.gated_edits import EditedPhotographs, GatedEdits, PendingEdits
from monai_retina_gen.editing.label_gate import Gate, GateVerdict, LabelGate, resolve_gate
from monai_retina_gen.editing.lesion_masks import Masker, SegmenterMasks
from monai_retina_gen.editing.painting import HolePainter, Painter, Painting, RatioPainter, paint
from monai_retina_gen.editing.photograph_cache import PhotographCache, photograph_keys
from monai_retina_gen.editing.planted_changes import erase_lesions, harmless_change, transplant_lesions
from monai_retina_gen.editing.style import (
    DIRECTIONS,
    PRESETS,
    ChannelProbe,
    ContributionScores,
    DirectionPreset,
    Directions,
    EncoderInversion,
    FoundDirection,
    Inversion,
    InvertedPhotograph,
    Inverter,
    OptimisationInversion,
    PendingStyleEdits,
    ScoreTable,
    StepEffect,
    StyleRange,
    StyleShift,
    StyleSpaceEditor,
    blend_delta,
    blend_ratio,
    blend_replace,
    change_mask,
    choose_directions,
    choose_pair_directions,
    edit_mask,
    load_directions,
    pair_vector,
    rank_channels,
    resolve_preset,
    save_directions,
    sparse_composition,
    strength_for_area,
    style_gradients,
)
from monai_retina_gen.editing.tries import first_accepted, strongest_accepted

__all__ = [
    "EncoderInversion",
    "GateVerdict",
    "HolePainter",
    "LabelGate",
    "OptimisationInversion",
    "PendingEdits",
    "RatioPainter",
    "paint",
]
