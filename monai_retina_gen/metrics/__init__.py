"""Metrics of generated photographs, of their diversity and copying, and of grading.

Each is a pure function on tensors and, where it accumulates over batches, an Ignite `Metric` that attaches to
any engine. A feature network comes in as an argument: this room knows nothing of weights.
"""

from __future__ import annotations

from monai_retina_gen.metrics.accuracy import GradeAccuracy, accuracy_from_confusion, grade_accuracy
from monai_retina_gen.metrics.authenticity import authenticity_share
from monai_retina_gen.metrics.bootstrap import (
    BootstrapInterval,
    bootstrap_interval,
    paired_bootstrap_difference,
)
from monai_retina_gen.metrics.confusion import (
    NUM_GRADES,
    GradeConfusionMatrix,
    GradeMetric,
    grade_confusion_matrix,
    referable_confusion,
)
from monai_retina_gen.metrics.crossed_effects import CrossedInterval, crossed_interval
from monai_retina_gen.metrics.data_copying import CopyingTest, data_copying_test, mann_whitney_z
from monai_retina_gen.metrics.density_coverage import (
    DensityCoverage,
    DensityCoverageResult,
    density_coverage,
)
from monai_retina_gen.metrics.diversity import Diversity, pair_diversity
from monai_retina_gen.metrics.evaluation import FeatureEvaluation, evaluate_features
from monai_retina_gen.metrics.features import FeatureExtractor, FeatureMetric, extract_features
from monai_retina_gen.metrics.frechet import FrechetDistance, frechet_distance, is_rank_deficient
from monai_retina_gen.metrics.kappa import (
    QuadraticWeightedKappa,
    kappa_from_confusion,
    quadratic_weighted_kappa,
)
from monai_retina_gen.metrics.kernel import (
    KernelDistance,
    KernelDistanceResult,
    kernel_distance,
    kernel_permutation_p_value,
)
from monai_retina_gen.metrics.laplacian_pyramid import laplacian_pyramid
from monai_retina_gen.metrics.mask_curve import MaskCurve, average_precision, best_threshold, curve_counts
from monai_retina_gen.metrics.ms_ssim import (
    FieldOfViewMsSsim,
    MsSsimDiversity,
    field_of_view_ms_ssim,
    inscribed_square,
    ms_ssim_diversity,
)
from monai_retina_gen.metrics.nearest_ratio import copied_share, nearest_ratio
from monai_retina_gen.metrics.neighbours import nearest_distance, neighbour_radii
from monai_retina_gen.metrics.perceptual_distance import (
    LpipsDistance,
    LpipsDiversity,
    lpips_distance,
    lpips_diversity,
)
from monai_retina_gen.metrics.precision_recall import (
    PrecisionRecall,
    PrecisionRecallResult,
    precision_recall,
)
from monai_retina_gen.metrics.realism import Realism, realism_score
from monai_retina_gen.metrics.reconstruction import (
    ReconstructionPsnr,
    ReconstructionSsim,
    reconstruction_psnr,
    reconstruction_ssim,
)
from monai_retina_gen.metrics.result import MetricResult
from monai_retina_gen.metrics.sensitivity import (
    GradeSensitivity,
    sensitivity_from_confusion,
    sensitivity_per_grade,
)
from monai_retina_gen.metrics.sliced_wasserstein import (
    SlicedWasserstein,
    sliced_wasserstein_distance,
)
from monai_retina_gen.metrics.verdict import FEWEST_SEEDS, holm, verdict

__all__ = [
    "GradeAccuracy",
    "GradeSensitivity",
    "KernelDistance",
    "MaskCurve",
    "QuadraticWeightedKappa",
    "crossed_interval",
    "density_coverage",
    "frechet_distance",
    "kernel_distance",
    "precision_recall",
    "quadratic_weighted_kappa",
]
