"""The tiny adversarial trainer as a fixture; `tiny_gan.py` also serves scripts that run as processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_retina_gen.engines import AlternatingTrainer

sys.path.insert(0, str(Path(__file__).parent))

import tiny_gan


@pytest.fixture
def make_trainer() -> Callable[..., AlternatingTrainer]:
    return tiny_gan.make_trainer
