"""Data: datalists of the public sets, splits by photograph, samplers, phantoms and synthetic manifests."""

from __future__ import annotations

from .bank_building import build_lesion_bank
from .checking import check_datalist
from .composed_masks import ComposedMasks
from .condition_map import CONDITION_KEYS, CONDITION_LESIONS, condition_map, missing_masks
from .csv_list import csv_datalist
from .datalist import load_datalist, save_datalist
from .datalist_format import MASK_KEYS, SECTIONS, Datalist, Item, make_datalist
from .eye_geometry import QUADRANTS, EyeGeometry
from .field_of_view import FieldOfView, find_field_of_view
from .grade_of import grade_of, grades_of
from .grades import GRADE_MAPS, apply_grade_map, count_grades
from .idrid_official import idrid_official_datalist
from .image_io import MAX_PIXELS, read_image, read_mask, read_text, write_image, write_mask
from .known_sets import folder_datalist
from .label_grades import ICDR_GRADE, LabelGrades, check_labels_are_grades, count_label_grades, icdr_grade
from .lesion_bank import LesionBank
from .lesion_rules import GRADE_LESIONS, LESION_MASKS, rule_violation
from .mask_composer import MaskComposer
from .phantom import PhantomDataset, PhantomFundus, phantom_fundus, write_phantoms
from .photograph_check import check_photographs
from .photograph_names import photograph_names
from .prepared_sets import chasedb1_datalist, hrf_datalist, idrid_datalist
from .record import RECORD_KEY, GenerationRecord, read_record
from .sampling import ResumableSampler, SeededDataset, balance_probabilities, balanced_sampler
from .selection_rate import SelectionRateFilter, selection_rate
from .splitting import split_by_group, unit_of
from .synthetic import SyntheticDataset, read_manifest, with_versions, write_json, write_manifest
from .votes import votes_datalist

__all__ = [
    "GenerationRecord",
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
    "csv_datalist",
    "load_datalist",
    "phantom_fundus",
    "read_image",
    "read_record",
    "save_datalist",
    "selection_rate",
    "write_image",
    "write_phantoms",
]
