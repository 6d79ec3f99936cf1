"""Edits of lesions: painted on photographs, or in the style space of a generator; and the label gate over both."""

from monai_retina_gen.editing.edit_request import EditRequest, parse_lesions
from monai_retina_gen.editing.gate_limits import GateLimits, joint_limits, label_limits
from monai_retina_gen.editing.gated_edits import GatedEdits, first_accepted, strongest_accepted
from monai_retina_gen.editing.label_gate import Gate, LabelGate, resolve_gate
from monai_retina_gen.editing.lesion_masks import Masker, SegmenterMasks
from monai_retina_gen.editing.painting import Painter, Painting
from monai_retina_gen.editing.photograph_cache import PhotographCache, photograph_keys
from monai_retina_gen.editing.planted_changes import erase_lesions, harmless_change, transplant_lesions
from monai_retina_gen.editing.style.blend import blend_delta, blend_ratio, change_mask
from monai_retina_gen.editing.style.channel_effects import ChannelProbe
from monai_retina_gen.editing.style.composition import sparse_composition
from monai_retina_gen.editing.style.contribution_scores import ContributionScores, style_gradients
from monai_retina_gen.editing.style.direction_search import (
    FoundDirection,
    StyleRange,
    choose_directions,
    choose_pair_directions,
    pair_vector,
    rank_channels,
)
from monai_retina_gen.editing.style.directions import DIRECTIONS, Directions, StyleShift, load_directions
from monai_retina_gen.editing.style.inversion import Inversion, InvertedPhotograph, Inverter
from monai_retina_gen.editing.style.pending_style_edits import PendingStyleEdits, strength_for_area
from monai_retina_gen.editing.style.score_presets import PRESETS, DirectionPreset, resolve_preset
from monai_retina_gen.editing.style.style_space_editor import StyleSpaceEditor

__all__ = ["LabelGate"]
