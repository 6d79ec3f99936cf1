"""The study: trains graders with and without generated images and says, with intervals, whether they helped.

An arm is a recipe for the training images; all else, the number of optimiser steps included, is the same in all arms.
"""

from __future__ import annotations

from .config import ARMS, PRESETS, StudyConfig
from .study import run_study

__all__ = ["StudyConfig", "run_study"]
