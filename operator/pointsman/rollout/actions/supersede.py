"""Supersede: the spec asks for something else; the rollout ends and the incumbent serves. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.rollout.actions.end import at_rest, ended

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus, RoutingPolicyStatus


def supersede(
    status: RoutingPolicyStatus, rollout: RolloutStatus, because: str, now: datetime
) -> RoutingPolicyStatus:
    """Return the status at rest: the candidate has not failed, it is just not asked for any more."""
    over = ended(rollout, "Superseded", because, now)
    return at_rest(status.model_copy(update={"rollout": over}), "Stable", because, now)
