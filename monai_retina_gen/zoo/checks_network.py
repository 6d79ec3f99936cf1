"""Checks that run a bundle: shapes in and out and exports of its network, its workflows, and the figures it states."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out
from torch import Tensor

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.weights import CHECKPOINT, load_network, read_metadata

TOLERANCE = 1e-4
SIDE = 64
"""Side of the inputs, in pixels, where the metadata leaves it open."""


def check_network_in_out(bundle: Path) -> list[str]:
    """MONAI's `verify_net_in_out` on `network_def`, without exemption."""
    configs = bundle / "configs"
    try:
        with quiet():
            verify_net_in_out(
                net_id="network_def",
                meta_file=str(configs / "metadata.json"),
                config_file=str(configs / "inference.json"),
                n=2,
                device="cpu",
            )
    except ValueError as error:
        return [f"verify_net_in_out: {error}"]
    return []


def check_scripting(bundle: Path) -> list[str]:
    """MONAI's `ckpt_export` as its zoo runs it, by scripting: TorchScript that gives what the network gives."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.ts"
        ckpt_export(
            net_id="network_def",
            filepath=str(path),
            ckpt_file=str(bundle / CHECKPOINT),
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "inference.json"),
            bundle_root=str(bundle),
        )
        scripted = torch.jit.load(str(path))
    with torch.jit.optimized_execution(False):  # optimising takes longer than the two passes
        return _difference("TorchScript", scripted, bundle, (1, 2))


def check_export(bundle: Path) -> list[str]:
    """`torch.export`, which gives what the network gives."""
    program = torch.export.export(load_network(bundle), (_inputs(bundle, 2),))
    return _difference("torch.export", program.module(), bundle, (2,))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MONAI's commands print and log their arguments: what a check finds is in its result."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def _difference(what: str, exported: torch.nn.Module, bundle: Path, batches: Sequence[int]) -> list[str]:
    network, problems = load_network(bundle), []
    for count in batches:
        inputs = _inputs(bundle, count)
        worst = (exported(inputs) - network(inputs)).abs().max().item()
        if not worst <= TOLERANCE:  # NaN is no match
            problems.append(f"{what} differs from the network by {worst:.2g} in a batch of {count}; want {TOLERANCE:g}")
    return problems


def _inputs(bundle: Path, count: int) -> Tensor:
    """Inputs as the metadata describes them."""
    entry = read_metadata(bundle)["network_data_format"]["inputs"]["image"]
    sides = [side if isinstance(side, int) else SIDE for side in entry["spatial_shape"]]
    return torch.rand(count, entry["num_channels"], *sides, generator=torch.Generator().manual_seed(0))


def check_properties(bundle: Path) -> list[str]:
    """The train and inference workflows initialise and have every property that MONAI requires of them."""
    problems = []
    with tempfile.TemporaryDirectory() as folder, quiet():
        datalist = write_phantoms(Path(folder) / "phantoms", count=10, size=SIDE, seed=0, splits=(0.6, 0.2, 0.2))
        own = {"datalist": str(datalist), "dataset_dir": str(Path(datalist).parent), "output_dir": folder}
        for kind, more in (("train", {"image_size": SIDE, "batch_size": 2}), ("inference", {})):
            problems += [f"the {kind} workflow: {problem}" for problem in _missing(bundle, kind, own | more)]
    return problems


def _workflow(bundle: Path, kind: str, *names: str, **overrides: Any) -> ConfigWorkflow:
    """A workflow of configurations of a bundle, initialised."""
    configs = bundle / "configs"
    workflow = ConfigWorkflow(
        workflow_type=kind,
        config_file=[str(configs / f"{name}.json") for name in names],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        bundle_root=str(bundle),
        **overrides,
    )
    workflow.initialize()
    return workflow


def _missing(bundle: Path, kind: str, overrides: dict[str, Any]) -> list[str]:
    workflow = _workflow(bundle, kind, kind, **overrides)
    try:
        return [f"lacks the required property {name!r}" for name in workflow.check_properties() or []]
    except KeyError as error:
        return [str(error.args[0])]
    finally:
        with contextlib.suppress(Exception):  # of what a check has not started, there may be nothing to finish
            workflow.finalize()


RELATIVE = 0.02
ABSOLUTE = 2e-3
"""Differences that other processors and library versions may make."""

FULL_NAMES = {"kappa": "quadratic_weighted_kappa"}
"""What a workflow's metric is called in `eval_metrics`."""


def check_figures(bundle: Path, dataset_dir: str | Path | None = None) -> list[str]:
    """Run the bundle's `evaluate.json` on the photographs that `eval_metrics` names, and compare."""
    stated = read_metadata(bundle).get("eval_metrics", {})
    if "split" not in stated:
        return ["eval_metrics does not say which photographs it is of: its key `split` is missing"]
    with tempfile.TemporaryDirectory() as folder:
        with quiet():
            _evaluate(bundle, dataset_dir, stated["split"], Path(folder))
        measured = _measured(Path(folder))
    return compare_figures({k: v for k, v in stated.items() if isinstance(v, (int, float))}, measured)


def compare_figures(stated: Mapping[str, float], measured: Mapping[str, float]) -> list[str]:
    """What differs; figures are compared where both have them, and there must be one."""
    both = [name for name in stated if name in measured]
    if not both:
        return [f"evaluate.json gives {sorted(measured)[:8]}, none of which eval_metrics states"]
    return [
        f"{name} is stated as {stated[name]:.4g}, evaluate.json gives {measured[name]:.4g}"
        for name in both
        if abs(stated[name] - measured[name]) > max(RELATIVE * abs(measured[name]), _last_digit(stated[name]), ABSOLUTE)
    ]


def _evaluate(bundle: Path, dataset_dir: str | Path | None, section: str, output_dir: Path) -> None:
    data = {} if dataset_dir is None else {"dataset_dir": str(dataset_dir)}
    workflow = _workflow(bundle, "train", "train", "evaluate", section=section, output_dir=str(output_dir), **data)
    workflow.run()
    workflow.finalize()


def _measured(folder: Path) -> dict[str, float]:
    """Numbers by name, of our `metrics.json` or MONAI's `metrics.csv`."""
    found: dict[str, float] = {}
    for path in folder.rglob("metrics.json"):
        found |= _flat(json.loads(path.read_text(encoding="utf-8")))
    for path in folder.rglob("metrics.csv"):
        rows = re.findall(r"^(?:val_)?(\w+)[,\t](-?[\d.e+-]+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        found |= {name: float(value) for name, value in rows}
    return {FULL_NAMES.get(name, name): value for name, value in found.items()}


def _flat(report: Mapping[str, Any]) -> dict[str, float]:
    """Figures of an evaluation, at the n of their floors, or of a flat report."""
    if "metrics" in report:
        metrics = {**report["metrics"], "swd": report["sliced_wasserstein"]}
        return {name: float(found["value_at_floor_n"]) for name, found in metrics.items()}
    return {k: float(v) for k, v in report.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _last_digit(value: float) -> float:
    """Half a unit of the last digit that is written: a figure may have been rounded.

    Examples:
        >>> _last_digit(12.9)
        0.05
    """
    decimals = len(repr(float(value)).partition(".")[2])
    return float(f"{0.5 * 10.0**-decimals:.3g}")
