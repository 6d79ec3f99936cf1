"""Label-preserving generative augmentation of retinal photographs for MONAI.

Three ways in: a transform (`GenerativeAugmentd`) in a MONAI pipeline, the bundle command line
(`python -m monai.bundle run`), and the model zoo. Not for clinical use.
"""

from __future__ import annotations

import re

from monai_retina_gen.freed_memory import keep_freed_memory

__version__ = "0.1.0"

__all__ = ["__version__", "check_version", "keep_freed_memory"]


def check_version(minimum: str) -> None:
    """Raise a `RuntimeError` where this package is older than `minimum`: the first line of every bundle's `imports`.

    Examples:
        >>> check_version("0.1")
    """

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", version)[:3])

    if numbers(__version__) < numbers(minimum):
        raise RuntimeError(
            f"this bundle needs monai_retina_gen {minimum} or newer, found {__version__}: "
            "pip install --upgrade monai-retina-gen"
        )
