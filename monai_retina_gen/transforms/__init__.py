"""MONAI transforms: loading and cropping fundus photographs, and generative augmentation in all its forms.

Array and dictionary forms come in pairs as in MONAI (`LoadFundus`, `LoadFundusd` with the aliases `LoadFundusD`
and `LoadFundusDict`). All take and return RGB images in [0, 1] and know the order of their axes.
"""

from __future__ import annotations

from .augment.batch import BatchGenerativeAugment, GenerativeAugmentHandler, GenerativePrepareBatch
from .augment.generative_augment import (
    GenerativeAugment,
    GenerativeAugmentD,
    GenerativeAugmentd,
    GenerativeAugmentDict,
)
from .augment.lesion_edit import LesionEdit, LesionEditD, LesionEditd, LesionEditDict
from .compose_masks import ComposeMasks, ComposeMasksD, ComposeMasksd, ComposeMasksDict
from .condition_map import StackConditionMapd, StackVersionsd
from .crop_field_of_view import CropToFieldOfView
from .crop_field_of_viewd import CropToFieldOfViewD, CropToFieldOfViewd, CropToFieldOfViewDict
from .image_order import check_image, resolve_image_order
from .lesion_crop import LesionCropBatches, RandLesionCropd, StackMasksd, UnpackMasksd
from .load_fundus import LoadFundus, LoadFundusD, LoadFundusd, LoadFundusDict, PhotographLayout
from .painting_crop import RandPaintingCropd, StackPaintingd

__all__ = [
    "BatchGenerativeAugment",
    "ComposeMasks",
    "ComposeMasksd",
    "CropToFieldOfView",
    "CropToFieldOfViewd",
    "GenerativeAugment",
    "GenerativeAugmentHandler",
    "GenerativeAugmentd",
    "GenerativePrepareBatch",
    "LesionCropBatches",
    "LesionEdit",
    "LesionEditd",
    "LoadFundus",
    "LoadFundusd",
    "PhotographLayout",
    "RandLesionCropd",
    "RandPaintingCropd",
    "StackConditionMapd",
    "StackMasksd",
    "StackPaintingd",
    "StackVersionsd",
    "UnpackMasksd",
]
