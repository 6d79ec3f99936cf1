"""Evaluation of generators: figures beside photographs, whether the label is seen, and the features all rests on."""

from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.generator_evaluation import evaluate
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.evidence.evaluation.label_agreement import label_check

__all__ = ["evaluate", "label_check"]
