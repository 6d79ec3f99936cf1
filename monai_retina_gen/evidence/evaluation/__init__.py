"""Evaluation of generators: figures beside photographs, whether the label is seen, and the features all rests on."""

from monai_retina_gen.evidence.evaluation.extractor import Extractor, load_extractor
from monai_retina_gen.evidence.evaluation.generator_evaluation import GeneratorEvaluation, evaluate
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, expanded_images, photographs, sampled_images
from monai_retina_gen.evidence.evaluation.label_agreement import label_check
from monai_retina_gen.evidence.evaluation.synthesis import SynthesisEvaluation

__all__ = [
    "GeneratorEvaluation",
    "SynthesisEvaluation",
    "evaluate",
    "expanded_images",
    "label_check",
    "load_extractor",
    "photographs",
    "sampled_images",
]
