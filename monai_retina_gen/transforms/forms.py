"""Dictionary and batch forms of a transform take its arguments, and say so in their signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

__all__ = ["with_arguments_of"]

Form = TypeVar("Form", bound=type)


def with_arguments_of(base: type) -> Callable[[Form], Form]:
    """Decorates a class whose constructor hands `**options` on to `base`: its signature names them, with defaults.

    Examples:
        >>> from monai_retina_gen.transforms import CropToFieldOfView
        >>> @with_arguments_of(CropToFieldOfView)
        ... class Form:
        ...     def __init__(self, keys, **options): ...
        >>> list(inspect.signature(Form).parameters)
        ['keys', 'size', 'margin', 'image_order', 'unsqueeze', 'allow_upsampling']
    """

    def decorate(form: Form) -> Form:
        own, theirs = (list(inspect.signature(each.__init__).parameters.values()) for each in (form, base))  # type: ignore[misc]
        named = [each for each in own if each.kind is not each.VAR_KEYWORD]
        known = {each.name for each in named}
        added = [each.replace(kind=each.KEYWORD_ONLY) for each in theirs if each.name not in known]
        form.__init__.__signature__ = inspect.Signature([*named, *added])  # type: ignore[misc]
        return form

    return decorate
