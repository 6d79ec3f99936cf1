"""Dictionary and batch forms of a transform take its arguments, and say so in their signature and their errors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Form = TypeVar("Form", bound=type)


def with_arguments_of(base: type) -> Callable[[Form], Form]:
    """Decorates a class whose constructor hands `**options` on to `base`: its signature names them, with defaults.

    `TypeError` for arguments that do not fit it names the class itself, not `base`.

    Examples:
        >>> from monai_retina_gen.transforms import CropToFieldOfView
        >>> @with_arguments_of(CropToFieldOfView)
        ... class Form:
        ...     def __init__(self, keys, **options): ...
        >>> list(inspect.signature(Form).parameters)
        ['keys', 'size', 'margin', 'image_order', 'unsqueeze', 'allow_upsampling']
    """

    def decorate(form: Form) -> Form:
        construct = form.__init__  # type: ignore[misc]
        own, theirs = (list(inspect.signature(each).parameters.values()) for each in (construct, base.__init__))  # type: ignore[misc]
        named = [each for each in own if each.kind is not each.VAR_KEYWORD]
        known = {each.name for each in named}
        added = [each.replace(kind=each.KEYWORD_ONLY) for each in theirs if each.name not in known]
        signature = inspect.Signature([*named, *added])

        @functools.wraps(construct)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            try:
                signature.bind(self, *args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{type(self).__name__}: {error}") from None
            construct(self, *args, **kwargs)

        checked.__signature__ = signature  # type: ignore[attr-defined]
        form.__init__ = checked  # type: ignore[misc]
        return form

    return decorate
