"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def mrg_data() -> Path:
    """Folder of the real photographs (`idrid/`, `hrf/`, `chasedb1/`): `MRG_DATA`, or `../shared/data`."""
    root = Path(os.environ.get("MRG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "idrid" / "splits.csv").is_file():
        pytest.skip(f"real photographs not found at {root}: set MRG_DATA to their folder")
    return root


@pytest.fixture(scope="session")
def bundles_dir() -> Path:
    """The repository's bundles."""
    return REPOSITORY / "bundles"
