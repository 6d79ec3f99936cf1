"""The copying audit: whether a generator gives back photographs that it was trained on."""

from monai_retina_gen.evidence.audit.copying_audit import audit

__all__ = ["audit"]
