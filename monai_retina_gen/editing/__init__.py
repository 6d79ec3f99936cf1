"""Work on generated images and latent spaces: lesion directions and edits in the style space, and the label gate."""

from monai_retina_gen.editing.blend import blend_delta, blend_replace, change_mask, edit_mask
from monai_retina_gen.editing.channel_effects import ChannelProbe, StepEffect
from monai_retina_gen.editing.composition import sparse_composition
from monai_retina_gen.editing.contribution_scores import ContributionScores, ScoreTable, style_gradients
from monai_retina_gen.editing.direction_search import FoundDirection, StyleRange, choose_directions, rank_channels
from monai_retina_gen.editing.directions import DIRECTIONS, Directions, load_directions, save_directions
from monai_retina_gen.editing.edit_request import EditRequest
from monai_retina_gen.editing.encoder_inversion import EncoderInversion
from monai_retina_gen.editing.gate_limits import GateLimits, joint_limits, lower_limit
from monai_retina_gen.editing.gated_edits import EditedPhotographs, GatedEdits, PendingEdits
from monai_retina_gen.editing.inversion import Inversion, Inverter
from monai_retina_gen.editing.label_gate import Gate, GateVerdict, LabelGate, resolve_gate
from monai_retina_gen.editing.latent_cache import CachedInverter, photograph_key
from monai_retina_gen.editing.lesion_editor import LesionEditor
from monai_retina_gen.editing.lesion_masks import Masker, SegmenterMasks
from monai_retina_gen.editing.optimisation_inversion import OptimisationInversion
from monai_retina_gen.editing.painting import HolePainter, Painter, Painting, RatioPainter, paint
from monai_retina_gen.editing.planted_changes import erase_lesions, harmless_change, transplant_lesions
from monai_retina_gen.editing.score_presets import PRESETS, DirectionPreset, resolve_preset
from monai_retina_gen.editing.strength import strength_for_area
from monai_retina_gen.editing.style_edit import StyleEdit, parse_lesions
from monai_retina_gen.editing.style_edits import StyleEdits
from monai_retina_gen.editing.tries import first_accepted, strongest_accepted

__all__ = [
    "DIRECTIONS",
    "PRESETS",
    "CachedInverter",
    "ChannelProbe",
    "ContributionScores",
    "DirectionPreset",
    "Directions",
    "EditRequest",
    "EditedPhotographs",
    "EncoderInversion",
    "FoundDirection",
    "Gate",
    "GateLimits",
    "GateVerdict",
    "GatedEdits",
    "HolePainter",
    "Inversion",
    "Inverter",
    "LabelGate",
    "LesionEditor",
    "Masker",
    "OptimisationInversion",
    "Painter",
    "Painting",
    "PendingEdits",
    "RatioPainter",
    "ScoreTable",
    "SegmenterMasks",
    "StepEffect",
    "StyleEdit",
    "StyleEdits",
    "StyleRange",
    "blend_delta",
    "blend_replace",
    "change_mask",
    "choose_directions",
    "edit_mask",
    "erase_lesions",
    "first_accepted",
    "harmless_change",
    "joint_limits",
    "load_directions",
    "lower_limit",
    "paint",
    "parse_lesions",
    "photograph_key",
    "rank_channels",
    "resolve_gate",
    "resolve_preset",
    "save_directions",
    "sparse_composition",
    "strength_for_area",
    "strongest_accepted",
    "style_gradients",
    "transplant_lesions",
]
