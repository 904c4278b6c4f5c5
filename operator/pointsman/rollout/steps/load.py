"""Load: the candidate's classifier on every Triton, its tiers in every Envoy. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.conditions import ProgrammedReason, ProgressingReason
from pointsman.rollout.moments import unix
from pointsman.rollout.readiness import readiness
from pointsman.rollout.steps.look import Look

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus
    from pointsman.rollout.observation import Observation

_ENOUGH = frozenset({ProgrammedReason.ACKNOWLEDGED, ProgrammedReason.XDS_UNREACHABLE})
"""An xds server that does not answer holds nothing up: without Envoys nothing is ever proven."""


def look(o: Observation, rollout: RolloutStatus, now: datetime) -> Look:  # noqa: ARG001 - a step's signature
    """Wait for classifier and configuration."""
    deadline = unix(rollout.steps[-1].started_at) + o.settings.load_max_s
    loaded = readiness(o)
    if not loaded.ready:
        words = f"{rollout.candidate} waits for its classifier ({loaded.reason}): {loaded.message}"
        return Look(ProgressingReason.WAITING_FOR_CLASSIFIER, words, deadline_s=deadline, display="Load")
    if o.programmed.reason not in _ENOUGH:
        words = f"{rollout.candidate} waits for the Envoys ({o.programmed.reason})"
        if o.programmed.message:
            words = f"{words}: {o.programmed.message}"
        return Look(ProgressingReason.WAITING_FOR_ENVOY, words, deadline_s=deadline, display="Load")
    words = f"{rollout.candidate} is loaded"
    return Look(ProgressingReason.WAITING_FOR_ENVOY, words, passed=True, deadline_s=deadline, display="Load")
