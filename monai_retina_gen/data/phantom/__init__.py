"""The phantom fundus: procedural eyes with exact masks and a grade that follows the clinical rules.

A phantom is drawn from a seed alone, at any size, for tests, examples, the demo and pre-training. It is never
a photograph and is never called one.
"""

from __future__ import annotations

from .dataset import PhantomDataset, write_phantoms
from .fundus import PhantomFundus, phantom_fundus

__all__ = ["PhantomDataset", "PhantomFundus", "phantom_fundus", "write_phantoms"]
