"""Finding, verifying and loading bundles and weights."""

from monai_retina_gen.weights.bundle_paths import bundle_search_path, pinned_sha256, read_metadata
from monai_retina_gen.weights.initial_weights import hub_file, imagenet_file, load_imagenet, load_initial_weights
from monai_retina_gen.weights.state_files import (
    latest_checkpoint,
    load_parts,
    load_state,
    load_weights,
    save_parts,
    save_state,
    sha256_file,
    state_sha256,
)
from monai_retina_gen.weights.training_state import save_training_state, start_networks, transfer_state
from monai_retina_gen.weights.trusted_config import (
    CHECKPOINT,
    build_from_bundle,
    load_network,
    read_inference_config,
    split_bundle_name,
    weights_file,
    weights_files,
)
from monai_retina_gen.weights.zoo_download import INDEX_FILE, PUBLIC_ZOO, find_bundle, read_index, zoo_location
from monai_retina_gen.weights.zoo_index import ZooEntry, ZooIndex, archive_name, check_member_path, parse_index

__all__ = [
    "find_bundle",
    "latest_checkpoint",
    "load_imagenet",
    "load_initial_weights",
    "load_network",
    "save_state",
]
