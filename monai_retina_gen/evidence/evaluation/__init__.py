"""Evaluation of generators: figures beside photographs, whether the label is seen, and the features all rests on."""

from .extractor import Extractor
from .generator_evaluation import evaluate
from .image_sets import ImageSet
from .label_agreement import label_check

__all__ = ["evaluate", "label_check"]
