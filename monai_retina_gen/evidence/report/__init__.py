"""Results for people: one page of what was found, and the blinded page on which a clinician judges images."""

from .report_page import report

__all__ = ["report"]
