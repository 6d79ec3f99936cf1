"""Finding, verifying and loading bundles and weights."""

from monai_retina_gen.weights.bundle_paths import (
    bundle_search_path,
    find_bundle,
    pinned_sha256,
    read_metadata,
    user_cache,
)
from monai_retina_gen.weights.state_files import (
    latest_checkpoint,
    load_initial_weights,
    load_state,
    load_weights,
    save_state,
    sha256_file,
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
)

__all__ = [
    "CHECKPOINT",
    "Transfer",
    "build_from_bundle",
    "bundle_search_path",
    "find_bundle",
    "latest_checkpoint",
    "load_initial_weights",
    "load_network",
    "load_state",
    "load_weights",
    "pinned_sha256",
    "read_inference_config",
    "read_metadata",
    "save_state",
    "save_training_state",
    "sha256_file",
    "split_bundle_name",
    "start_networks",
    "transfer_state",
    "user_cache",
    "weights_file",
]
