"""The model zoo: packing bundles, the indices, and verification."""

from monai_retina_gen.zoo.building import MODEL_INFO, find_bundles
from monai_retina_gen.zoo.packing import bundle_files, headline_figures, pack_bundle
from monai_retina_gen.zoo.verification import CheckResult

__all__ = []
