"""The model zoo: packing bundles, the indices, and verification."""

from monai_retina_gen.zoo.building import MODEL_INFO, build_zoo, find_bundles
from monai_retina_gen.zoo.packing import bundle_files, headline_figures, pack_bundle
from monai_retina_gen.zoo.publishing import publish_zoo
from monai_retina_gen.zoo.verification import CheckResult, verify_bundle

__all__ = ["build_zoo", "publish_zoo", "verify_bundle"]
