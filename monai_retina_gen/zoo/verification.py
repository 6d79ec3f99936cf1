"""Verifying bundles: what MONAI's model zoo checks, without exemption, and what this package asks beyond it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monai_retina_gen.zoo.checks_network import (
    check_export,
    check_figures,
    check_network_in_out,
    check_properties,
    check_scripting,
)
from monai_retina_gen.zoo.checks_static import (
    check_card,
    check_layout,
    check_licences,
    check_metadata,
    check_paths,
    check_version,
    check_weights,
)

Check = Callable[[Path], list[str]]

FAST_CHECKS: dict[str, Check] = {
    "layout": check_layout,
    "metadata": check_metadata,
    "version": check_version,
    "weights": check_weights,
    "card": check_card,
    "licences": check_licences,
    "paths": check_paths,
}
"""They read files alone: a second for all bundles together."""

SLOW_CHECKS: dict[str, Check] = {
    "network in and out": check_network_in_out,
    "scripting": check_scripting,
    "export": check_export,
    "properties": check_properties,
}
"""They run the bundle's configurations, which is code: only for bundles whose author you trust."""


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check: what is wrong, in words, and why it was not made, where it was not."""

    check: str
    problems: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Made, and nothing found."""
        return not self.problems and not self.skipped


def verify_bundle(
    bundle: Path, *, fast: bool = False, figures: bool = False, dataset_dir: str | Path | None = None
) -> Iterator[CheckResult]:
    """Check a bundle, one result after the other.

    Args:
        bundle: its folder.
        fast: only the checks that run no code of the bundle.
        figures: run its `evaluate.json` on the photographs that its figures are of too: seconds to minutes a bundle.
        dataset_dir: folder of its data set, for `figures`; by default that of its `train.json`, in `MRG_DATA`.

    Examples:
        >>> all(result.problems == () for result in verify_bundle(Path("bundles/retina_vae"), fast=True))
        True
    """
    bundle = bundle.resolve()
    for name, check in (FAST_CHECKS if fast else {**FAST_CHECKS, **SLOW_CHECKS}).items():
        yield _outcome(name, check, bundle)
    if figures and dataset_dir is None and not os.environ.get("MRG_DATA"):
        yield CheckResult("figures", skipped="no photographs: name their folder with --dataset-dir, or set MRG_DATA")
    elif figures:
        yield _outcome("figures", functools.partial(check_figures, dataset_dir=dataset_dir), bundle)


def _outcome(name: str, check: Check, bundle: Path) -> CheckResult:
    try:
        return CheckResult(name, tuple(check(bundle)))
    except Exception as error:  # a check must not hide the others: a broken bundle may raise anything
        return CheckResult(name, (f"{type(error).__name__}: {str(error)[:800]}",))
