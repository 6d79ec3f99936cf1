"""Data: datalists of the public sets, splits by photograph, samplers, phantoms and synthetic manifests."""

from __future__ import annotations

from .aptos import aptos2019_datalist
from .chasedb1 import chasedb1_datalist
from .checking import check_datalist
from .csv_list import csv_datalist
from .datalist import load_datalist, save_datalist
from .datalist_format import MASK_KEYS, SECTIONS, Datalist, Item, make_datalist
from .eyepacs import eyepacs_datalist
from .field_of_view import FieldOfView, find_field_of_view
from .folder import folder_datalist
from .grades import GRADE_MAPS, apply_grade_map, count_grades
from .hrf import hrf_datalist
from .idrid import idrid_datalist
from .idrid_official import idrid_official_datalist
from .image_io import MAX_PIXELS, read_image, read_mask, read_text, write_image, write_mask
from .odir import odir5k_datalist
from .phantom import PhantomDataset, PhantomFundus, phantom_fundus, write_phantoms
from .record import RECORD_KEY, GenerationRecord, read_record
from .resumable import ResumableSampler, SeededDataset
from .sampling import balance_probabilities, balanced_sampler
from .selection_rate import SelectionRateFilter, selection_rate
from .splitting import split_by_group
from .synthetic import SyntheticDataset, read_manifest, write_json, write_manifest
from .votes import votes_datalist

__all__ = [
    "GRADE_MAPS",
    "MASK_KEYS",
    "MAX_PIXELS",
    "RECORD_KEY",
    "SECTIONS",
    "Datalist",
    "FieldOfView",
    "GenerationRecord",
    "Item",
    "PhantomDataset",
    "PhantomFundus",
    "ResumableSampler",
    "SeededDataset",
    "SelectionRateFilter",
    "SyntheticDataset",
    "apply_grade_map",
    "aptos2019_datalist",
    "balance_probabilities",
    "balanced_sampler",
    "chasedb1_datalist",
    "check_datalist",
    "count_grades",
    "csv_datalist",
    "eyepacs_datalist",
    "find_field_of_view",
    "folder_datalist",
    "hrf_datalist",
    "idrid_datalist",
    "idrid_official_datalist",
    "load_datalist",
    "make_datalist",
    "odir5k_datalist",
    "phantom_fundus",
    "read_image",
    "read_manifest",
    "read_mask",
    "read_record",
    "read_text",
    "save_datalist",
    "selection_rate",
    "split_by_group",
    "votes_datalist",
    "write_image",
    "write_json",
    "write_manifest",
    "write_mask",
    "write_phantoms",
]
