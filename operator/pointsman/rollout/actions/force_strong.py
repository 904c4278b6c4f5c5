"""Force strong: all of the traffic to the last tier at once, until the spec changes or Retry. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.rollout.actions.end import at_rest, ended, with_failure

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.rollout.observation import Observation


def force_strong(o: Observation, because: str, now: datetime) -> RoutingPolicyStatus:
    """Return the status with no stable revision; whatever comes next proves itself from nothing."""
    status, live = o.policy.status, o.live
    attempts = live.attempt if live is not None else 1
    forced = with_failure(status, o.desired, "ForcedStrong", because, now, attempts=attempts)
    changed: dict[str, object] = {"stable_revision": None, "warm": []}
    if live is not None:
        changed["rollout"] = ended(live, "ForcedStrong", because, now, name="RolledBack")
    return at_rest(forced.model_copy(update=changed), "RolledBack", because, now)
