"""Begin a rollout of the desired revision: one attempt against what serves now. Pure: a status."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pointsman.api.v1alpha1.status import RolloutStatus, RolloutStep, StepStatus
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.moments import moment
from pointsman.rollout.traffic import due

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.rollout.observation import Observation


def begin(status: RoutingPolicyStatus, o: Observation, now: datetime) -> RoutingPolicyStatus:
    """Return the status in the rollout's first step; `status` is at rest.

    The revision leaves failedRevisions: what it did before is in its own record.
    """
    started, attempt = moment(now), _attempt(status, o)
    words = "\n".join((o.policy.metadata.uid, o.desired, str(attempt), started))
    rollout = RolloutStatus(
        id=hashlib.sha256(words.encode()).hexdigest()[:8],
        candidate=o.desired,
        incumbent=status.stable_revision or ALWAYS_STRONG,
        attempt=attempt,
        started_at=started,
        steps=[RolloutStep(index=0, name="Load", started_at=started)],
    )
    begun = status.model_copy(
        update={
            "rollout": rollout,
            "step": StepStatus(name="Load", index=0, started_at=started, display="Load"),
            "candidate_revision": o.desired,
            "failed_revisions": [f for f in status.failed_revisions if f.revision != o.desired],
            "verdicts": [],
        }
    )
    return begun.model_copy(update={"traffic": due(begun)})


def _attempt(status: RoutingPolicyStatus, o: Observation) -> int:
    """Return one more than the last attempt of this revision that anything remembers."""
    known = [f.attempts for f in status.failed_revisions if f.revision == o.desired]
    if status.rollout is not None and status.rollout.candidate == o.desired:
        known.append(status.rollout.attempt)
    kept = o.find(o.desired)
    known += [record.rollout.attempt for record in kept.status.attempts] if kept else []
    return max(known, default=0) + 1
