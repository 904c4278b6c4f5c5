"""Put the desired revision in force. Pure: promotion is nothing but the status write that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.api.v1alpha1.status import WarmRevision
from pointsman.rollout.actions.end import at_rest, ended
from pointsman.rollout.judged import verdict_statuses
from pointsman.rollout.moments import moment_of, unix
from pointsman.rollout.traffic import WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.rollout.judged import Judged
    from pointsman.rollout.observation import Observation

_WARM_KEPT: Final = 3


def promote(
    o: Observation, because: str, now: datetime, judged: Sequence[Judged] = ()
) -> RoutingPolicyStatus:
    """Return the status with the desired revision stable and all of the traffic on it, in one write.

    What it replaces stays warm. A rollout under way ends: promoted, if this revision is its candidate.
    """
    status = o.policy.status
    changed: dict[str, object] = {
        "stable_revision": o.desired,
        "warm": warmed(status, o, now),
        "failed_revisions": [f for f in status.failed_revisions if f.revision != o.desired],
    }
    if status.stable_revision != o.desired:
        changed["savings"] = None  # of another revision
    if o.live is not None:
        if o.live.candidate == o.desired:
            over = ended(o.live, "Promoted", because, now, name="Promotion", weight_permille=WHOLE)
        else:
            over = ended(o.live, "Superseded", because, now)
        changed["rollout"] = over
    if judged:
        changed["verdicts"] = verdict_statuses(judged)
    return at_rest(status.model_copy(update=changed), "Stable", because, now)


def warmed(status: RoutingPolicyStatus, o: Observation, now: datetime) -> list[WarmRevision]:
    """Return what is kept warm once the desired revision has replaced the stable one."""
    old = status.stable_revision
    kept = [warm for warm in status.warm if warm.revision not in {o.desired, old}]
    if old is not None and old != o.desired:
        until = moment_of(now.timestamp() + o.settings.keep_warm_s)
        kept.insert(0, WarmRevision(revision=old, until=until))
    return sorted(kept, key=lambda warm: unix(warm.until), reverse=True)[:_WARM_KEPT]
