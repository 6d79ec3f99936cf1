"""The copying audit: whether a generator gives back photographs that it was trained on."""

from .copying_audit import audit

__all__ = ["audit"]
