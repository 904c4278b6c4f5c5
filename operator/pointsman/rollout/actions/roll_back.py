"""Roll back: all of the traffic to the incumbent, and why, in one write. Pure: a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.rollout.actions.end import at_rest, ended, with_failure
from pointsman.rollout.judged import verdict_statuses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pointsman.api.v1alpha1.status import Outcome, RolloutStatus, RoutingPolicyStatus
    from pointsman.rollout.judged import Judged


def roll_back(
    status: RoutingPolicyStatus,
    rollout: RolloutStatus,
    outcome: Outcome,
    because: str,
    now: datetime,
    *,
    judged: Sequence[Judged] = (),
) -> RoutingPolicyStatus:
    """Return the status with the incumbent back; `judged`: what was known, the verdict that decided first."""
    over = ended(rollout, outcome, because, now, name="RolledBack")
    failed = with_failure(status, rollout.candidate, outcome, because, now, attempts=rollout.attempt)
    changed: dict[str, object] = {"rollout": over}
    if judged:
        changed["verdicts"] = verdict_statuses(judged)
    return at_rest(failed.model_copy(update=changed), "RolledBack", because, now)
