"""Events within an iteration of `AlternatingTrainer`."""

from __future__ import annotations

from ignite.engine import EventEnum


class GenerativeEvents(EventEnum):
    """Events within an iteration of `AlternatingTrainer`, for handlers."""

    D_STEP_STARTED = "d_step_started"
    D_BACKWARD_COMPLETED = "d_backward_completed"
    D_STEP_COMPLETED = "d_step_completed"
    G_STEP_STARTED = "g_step_started"
    G_BACKWARD_COMPLETED = "g_backward_completed"
    G_STEP_COMPLETED = "g_step_completed"
    PHASE_STARTED = "phase_started"
    PHASE_COMPLETED = "phase_completed"
