"""One fold of cross-fitting: the bundle's training without what is held out, and the predictions for that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import Datalist
from monai_retina_gen.engines import fold_datalist
from monai_retina_gen.evidence.evaluation.image_sets import photographs
from monai_retina_gen.weights import load_state, save_state

__all__ = ["CONFIGS", "FINAL", "fold_outcome", "train_fold"]

logger = logging.getLogger(__name__)
CONFIGS = ("train", "cross_fit")
FINAL = "final.pt"


def train_fold(bundle: Path, out: Path, fold: int, folds: int, settings: Mapping[str, Any]) -> Any:
    """Run the bundle's training for one fold, or go on with it; returns the workflow with the trained network."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / f"{name}.json") for name in CONFIGS],
        workflow_type="train",
        logging_file=False,  # the command line has its own
        bundle_root=str(bundle),
        output_dir=str(out),
        fold=fold,
        folds=folds,
        resume=bool(list(out.glob("state_*.pt"))),
        **settings,
    )
    workflow.initialize()
    if not (out / FINAL).is_file():
        workflow.run()
        save_state(workflow.parser.get_parsed_content("averaged_network").state_dict(), out / FINAL)
        workflow.finalize()
    return workflow


def fold_outcome(
    bundle: Path, out: Path, whole: Datalist, fold: int, folds: int, settings: Mapping[str, Any]
) -> tuple[Tensor, Tensor, dict[str, Any], int]:
    """Out-of-fold logits and labels, the network's definition and its image size."""
    logger.info("fold %d of %d", fold + 1, folds)
    parser = train_fold(bundle, out / f"fold{fold}", fold, folds, settings).parser
    network: nn.Module = parser.get_parsed_content("averaged_network")
    # as shipped: half precision; the network of the last epoch, also where this fold was trained in an earlier run
    state = load_state(out / f"fold{fold}" / FINAL)
    network.load_state_dict({k: v.half().to(v) if v.is_floating_point() else v for k, v in state.items()})
    size, device = int(parser.get_parsed_content("image_size")), parser.get_parsed_content("device")
    held_out = photographs(fold_datalist(whole, fold, folds)["validation"], size, f"fold {fold}")
    network.eval()
    with torch.no_grad():
        starts = range(0, len(held_out), 32)
        logits = torch.cat([network(held_out.floats(slice(i, i + 32)).to(device)).float().cpu() for i in starts])
    definition = {key: parser.get_parsed_content(f"network_def::{key}") for key in parser.get("network_def")}
    return logits, torch.tensor(held_out.grades), definition, size
