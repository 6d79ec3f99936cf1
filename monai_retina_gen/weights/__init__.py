"""Finding, verifying and loading bundles and weights."""

from monai_retina_gen.weights.bundle_finding import find_bundle
from monai_retina_gen.weights.bundle_paths import (
    bundle_search_path,
    pinned_sha256,
    read_metadata,
    user_cache,
)
from monai_retina_gen.weights.hub_files import hub_file
from monai_retina_gen.weights.initial_weights import IMAGENET, imagenet_file, load_imagenet, load_initial_weights
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
from monai_retina_gen.weights.training_state import save_training_state, start_networks
from monai_retina_gen.weights.transfer import Transfer, transfer_state
from monai_retina_gen.weights.trusted_config import (
    CHECKPOINT,
    build_from_bundle,
    load_network,
    read_inference_config,
    split_bundle_name,
    weights_file,
    weights_files,
)
from monai_retina_gen.weights.zoo_download import (
    INDEX_FILE,
    PUBLIC_ZOO,
    download_bundle,
    installed_problems,
    read_index,
    zoo_location,
)
from monai_retina_gen.weights.zoo_index import ZooEntry, ZooIndex, archive_name, check_member_path, parse_index

__all__ = [
    "CHECKPOINT",
    "IMAGENET",
    "INDEX_FILE",
    "PUBLIC_ZOO",
    "Transfer",
    "ZooEntry",
    "ZooIndex",
    "archive_name",
    "build_from_bundle",
    "bundle_search_path",
    "check_member_path",
    "download_bundle",
    "find_bundle",
    "hub_file",
    "imagenet_file",
    "installed_problems",
    "latest_checkpoint",
    "load_imagenet",
    "load_initial_weights",
    "load_network",
    "load_parts",
    "load_state",
    "load_weights",
    "parse_index",
    "pinned_sha256",
    "read_index",
    "read_inference_config",
    "read_metadata",
    "save_parts",
    "save_state",
    "save_training_state",
    "sha256_file",
    "split_bundle_name",
    "start_networks",
    "state_sha256",
    "transfer_state",
    "user_cache",
    "weights_file",
    "weights_files",
    "zoo_location",
]
