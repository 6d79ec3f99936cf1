"""Data: datalists of the public sets, splits by photograph, samplers, phantoms and synthetic manifests."""

from __future__ import annotations

from .bank_building import build_lesion_bank
from .checking import check_datalist, check_photographs
from .condition_map import CONDITION_KEYS, CONDITION_LESIONS, condition_map, missing_masks
from .csv_list import csv_datalist
from .datalist import folder_datalist, load_datalist, save_datalist
from .datalist_format import MASK_KEYS, SECTIONS, Datalist, Item, make_datalist
from .eye_geometry import QUADRANTS, EyeGeometry
from .field_of_view import FieldOfView, find_field_of_view
from .files import photograph_names, write_json
from .grades import (
    GRADE_MAPS,
    ICDR_GRADE,
    LabelGrades,
    apply_grade_map,
    check_labels_are_grades,
    count_grades,
    count_label_grades,
    grade_of,
    grades_of,
    icdr_grade,
)
from .image_io import MAX_PIXELS, read_mask, read_text, write_image, write_mask
from .lesion_bank import LesionBank
from .lesion_rules import GRADE_LESIONS, LESION_MASKS, rule_violation
from .mask_composer import ComposedMasks, MaskComposer
from .phantom import PhantomDataset, PhantomFundus, phantom_fundus, write_phantoms
from .prepared_sets import chasedb1_datalist, hrf_datalist, idrid_datalist, idrid_official_datalist
from .record import RECORD_KEY, SyntheticDataset, read_manifest, read_record, with_versions, write_manifest
from .sampling import ResumableSampler, SeededDataset, balance_probabilities, balanced_sampler
from .splitting import split_by_group, unit_of
from .votes import SelectionRateFilter, votes_datalist

__all__ = [
    "MaskComposer",
    "PhantomDataset",
    "ResumableSampler",
    "SeededDataset",
    "SelectionRateFilter",
    "balanced_sampler",
    "build_lesion_bank",
    "check_photographs",
    "count_grades",
    "count_label_grades",
    "load_datalist",
    "phantom_fundus",
    "read_record",
    "write_image",
    "write_phantoms",
]
