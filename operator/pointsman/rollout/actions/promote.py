"""Put the desired revision in force. Pure: promotion is nothing but the status write that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.v1alpha1.status import RoutingPolicyStatus, TrafficShare

if TYPE_CHECKING:
    from pointsman.rollout.observation import Observation


def promote(o: Observation) -> RoutingPolicyStatus:
    """Return the status with the desired revision stable and all of the traffic on it, in one write."""
    moved = {
        "stable_revision": o.desired,
        "candidate_revision": None,
        "traffic": [TrafficShare(revision=o.desired, weight_permille=1000)],
    }
    return o.policy.status.model_copy(update=moved)
