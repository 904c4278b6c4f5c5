"""Enter a step, or a weight: traffic, step and the cut in the evidence in one write. Pure: a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.v1alpha1.status import RolloutStep, StepStatus
from pointsman.rollout.moments import moment
from pointsman.rollout.traffic import due
from pointsman.rollout.words import clip

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus, RoutingPolicyStatus, StepName, StepState


def enter(
    status: RoutingPolicyStatus,
    rollout: RolloutStatus,
    name: StepName,
    weight_permille: int,
    now: datetime,
    *,
    state: StepState = "Running",
    because: str = "",
    display: str = "",
) -> RoutingPolicyStatus:
    """Return the status with one more step, in force from `now`."""
    entry = RolloutStep(
        index=rollout.steps[-1].index + 1 if rollout.steps else 0,
        name=name,
        weight_permille=weight_permille,
        started_at=moment(now),
    )
    grown = rollout.model_copy(update={"steps": [*rollout.steps, entry]})
    before = status.step
    step = StepStatus(
        name=name,
        index=entry.index,
        state=state,
        started_at=entry.started_at,
        because=clip(because),
        expected_hours=before.expected_hours if before is not None else None,
        advice=before.advice if before is not None else "",
        display=display or name,
    )
    entered = status.model_copy(update={"rollout": grown, "step": step})
    return entered.model_copy(update={"traffic": due(entered)})
