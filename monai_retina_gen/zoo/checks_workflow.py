"""Checks of a bundle's workflows: MONAI's required properties, on phantom photographs that are drawn for it."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.zoo.checks_network import quiet

SIDE = 64


def check_properties(bundle: Path) -> list[str]:
    """The train and inference workflows initialise and have every property that MONAI requires of them."""
    problems = []
    with tempfile.TemporaryDirectory() as folder, quiet():
        datalist = write_phantoms(Path(folder) / "phantoms", count=10, size=SIDE, seed=0, splits=(0.6, 0.2, 0.2))
        own = {"datalist": str(datalist), "dataset_dir": str(Path(datalist).parent), "output_dir": folder}
        for kind, more in (("train", {"image_size": SIDE, "batch_size": 2}), ("inference", {})):
            problems += [f"the {kind} workflow: {problem}" for problem in _missing(bundle, kind, own | more)]
    return problems


def _missing(bundle: Path, kind: str, overrides: dict[str, Any]) -> list[str]:
    configs = bundle / "configs"
    workflow = ConfigWorkflow(
        workflow_type=kind,
        config_file=str(configs / f"{kind}.json"),
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        bundle_root=str(bundle),
        **overrides,
    )
    workflow.initialize()
    try:
        return [f"lacks the required property {name!r}" for name in workflow.check_properties() or []]
    except KeyError as error:
        return [str(error.args[0])]
    finally:
        with contextlib.suppress(Exception):  # of what a check has not started, there may be nothing to finish
            workflow.finalize()
