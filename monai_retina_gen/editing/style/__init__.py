"""Photographs in the style space of a StyleGAN3: inversion, contribution scores, lesion directions, edits."""

from monai_retina_gen.editing.style.blend import blend_delta, blend_ratio, blend_replace, change_mask, edit_mask
from monai_retina_gen.editing.style.channel_effects import ChannelProbe, StepEffect
from monai_retina_gen.editing.style.composition import sparse_composition
from monai_retina_gen.editing.style.contribution_scores import ContributionScores, ScoreTable, style_gradients
from monai_retina_gen.editing.style.direction_search import FoundDirection, StyleRange, choose_directions, rank_channels
from monai_retina_gen.editing.style.directions import DIRECTIONS, Directions, load_directions, save_directions
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.editing.style.inversion import Inversion, InvertedPhotograph, Inverter
from monai_retina_gen.editing.style.optimisation_inversion import OptimisationInversion
from monai_retina_gen.editing.style.pair_directions import choose_pair_directions, pair_vector
from monai_retina_gen.editing.style.pending_style_edits import PendingStyleEdits
from monai_retina_gen.editing.style.score_presets import PRESETS, DirectionPreset, resolve_preset
from monai_retina_gen.editing.style.strength import strength_for_area
from monai_retina_gen.editing.style.style_shift import StyleShift
from monai_retina_gen.editing.style.style_space_editor import StyleSpaceEditor

__all__ = [
    "DIRECTIONS",
    "PRESETS",
    "ChannelProbe",
    "ContributionScores",
    "DirectionPreset",
    "Directions",
    "EncoderInversion",
    "FoundDirection",
    "Inversion",
    "InvertedPhotograph",
    "Inverter",
    "OptimisationInversion",
    "PendingStyleEdits",
    "ScoreTable",
    "StepEffect",
    "StyleRange",
    "StyleShift",
    "StyleSpaceEditor",
    "blend_delta",
    "blend_ratio",
    "blend_replace",
    "change_mask",
    "choose_directions",
    "choose_pair_directions",
    "edit_mask",
    "load_directions",
    "pair_vector",
    "rank_channels",
    "resolve_preset",
    "save_directions",
    "sparse_composition",
    "strength_for_area",
    "style_gradients",
]
