"""End a rollout: what all ends have in common. Pure: a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.v1alpha1.status import FailedRevision, RolloutStep, StepStatus
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.moments import moment
from pointsman.rollout.traffic import resting
from pointsman.rollout.words import clip

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import Outcome, RolloutStatus, RoutingPolicyStatus, StepName

_FAILED_KEPT = 5
DISPLAY = {"Stable": "Stable", "RolledBack": "Rolled back"}


def ended(
    rollout: RolloutStatus,
    outcome: Outcome,
    because: str,
    now: datetime,
    *,
    name: StepName | None = None,
    weight_permille: int = 0,
) -> RolloutStatus:
    """Return the rollout with its end, and a last entry of its steps if `name` is given."""
    steps = list(rollout.steps)
    if name is not None:
        index = steps[-1].index + 1 if steps else 0
        steps.append(
            RolloutStep(index=index, name=name, weight_permille=weight_permille, started_at=moment(now))
        )
    changed = {"steps": steps, "ended_at": moment(now), "outcome": outcome, "because": clip(because)}
    return rollout.model_copy(update=changed)


def at_rest(status: RoutingPolicyStatus, name: StepName, because: str, now: datetime) -> RoutingPolicyStatus:
    """Return the status with no rollout under way and all of the traffic on what is stable."""
    steps = status.rollout.steps if status.rollout is not None else []
    display = DISPLAY[name]
    if name == "Stable" and status.stable_revision is None:
        display = "Always strong"
    step = StepStatus(
        name=name,
        index=steps[-1].index if steps else 0,
        state="Done",
        started_at=moment(now),
        because=clip(because),
        display=display,
        counted_at=moment(now),
    )
    return status.model_copy(update={"step": step, "candidate_revision": None, "traffic": resting(status)})


def with_failure(
    status: RoutingPolicyStatus,
    revision: str,
    outcome: Outcome,
    because: str,
    now: datetime,
    *,
    attempts: int,
) -> RoutingPolicyStatus:
    """Return the status with a revision among those that failed, newest first; it is not kept warm."""
    failure = FailedRevision(
        revision=revision, outcome=outcome, because=clip(because), at=moment(now), attempts=attempts
    )
    others = [failed for failed in status.failed_revisions if failed.revision != revision]
    return status.model_copy(
        update={
            "failed_revisions": [failure, *others][:_FAILED_KEPT],
            "warm": [warm for warm in status.warm if warm.revision != revision],
        }
    )


def serving(status: RoutingPolicyStatus) -> str:
    """Return the name of what serves at rest."""
    return status.stable_revision or ALWAYS_STRONG
