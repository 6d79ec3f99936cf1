"""The file of an image in the errors about it: a `CacheDataset` of thousands says which one to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from monai_retina_gen.errors import ImageValueError

__all__ = ["file_of", "naming_file"]


def file_of(image: Any) -> str:
    """Path that the image was read from, by its metadata; empty where they are silent."""
    name = getattr(image, "meta", {}).get("filename_or_obj", "")
    return name if isinstance(name, str) else ""


@contextmanager
def naming_file(image: Any) -> Iterator[None]:
    """Put the file of the image before the text of an `ImageValueError`.

    Examples:
        >>> import torch
        >>> from monai.data import MetaTensor
        >>> with naming_file(MetaTensor(torch.zeros(3, 4, 4), meta={"filename_or_obj": "eye.png"})):
        ...     raise ImageValueError("image: too small")
        Traceback (most recent call last):
        ...
        monai_retina_gen.errors.ImageValueError: eye.png: image: too small
    """
    try:
        yield
    except ImageValueError as error:
        name = file_of(image)
        if not name or name in str(error):
            raise
        raise ImageValueError(f"{name}: {error}") from error
