"""Generators with a style space, for the commands that need one."""

from __future__ import annotations

from monai_retina_gen.generators.loading import load_generator
from monai_retina_gen.generators.stylegan3_generator import StyleGAN3Generator

__all__ = ["load_style_generator"]


def load_style_generator(name: str, *, device: str = "cpu") -> StyleGAN3Generator:
    """A StyleGAN3 with what its bundle brings: encoder, directions, segmenters.

    Args:
        name: bundle name or folder, or `BUNDLE:CONFIG`.
        device: where it runs.

    Raises:
        ValueError: for a generator of another kind.
    """
    generator = load_generator(name, device=device)
    if not isinstance(generator, StyleGAN3Generator):
        raise ValueError(f"generator {name!r} is a {type(generator).__name__}: only a StyleGAN3 has styles")
    return generator
