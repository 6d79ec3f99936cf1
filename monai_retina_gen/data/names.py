"""Names of lesions and structures: the keys of masks in items, conditions and networks."""

from __future__ import annotations

LESIONS = ("ma", "he", "ex", "se")
"""Microaneurysms, haemorrhages, hard and soft exudates."""

LATE_SIGNS = ("laser", "membrane")
"""Laser scars and membranes, of grade 4."""

ANATOMY = ("vessel", "od", "fov")
"""Vessels, optic disc and field of view."""

STRUCTURES = (*LESIONS, "od", "vessel")
"""What segmenters look for."""
