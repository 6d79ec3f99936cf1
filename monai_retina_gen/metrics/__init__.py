"""Metrics of generated photographs, of their diversity and copying, and of grading.

Each is a pure function on tensors; those that bundles attach to an engine are Ignite metrics as well. A feature network
comes in as an argument: this room knows nothing of weights.
"""

from __future__ import annotations

from monai_retina_gen.metrics.base import extract_features
from monai_retina_gen.metrics.bootstrap import bootstrap_interval
from monai_retina_gen.metrics.crossed_effects import FEWEST_SEEDS, holm, verdict
from monai_retina_gen.metrics.diversity import field_of_view_ms_ssim, lpips_distance, pair_diversity
from monai_retina_gen.metrics.evaluation import evaluate_features
from monai_retina_gen.metrics.grading import (
    NUM_GRADES,
    GradeAccuracy,
    GradeSensitivity,
    QuadraticWeightedKappa,
    accuracy_from_confusion,
    grade_confusion_matrix,
    kappa_from_confusion,
    quadratic_weighted_kappa,
    referable_confusion,
    sensitivity_from_confusion,
)
from monai_retina_gen.metrics.kernel import KernelDistance, kernel_permutation_p_value
from monai_retina_gen.metrics.manifold import (
    CopyingTest,
    mann_whitney_z,
    nearest_distance,
    neighbour_radii,
    realism_score,
)
from monai_retina_gen.metrics.mask_curve import average_precision, curve_counts
from monai_retina_gen.metrics.sliced_wasserstein import laplacian_pyramid, sliced_wasserstein_distance

__all__ = [
    "GradeAccuracy",
    "GradeSensitivity",
    "KernelDistance",
    "QuadraticWeightedKappa",
]
