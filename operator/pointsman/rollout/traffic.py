"""Who serves: the traffic that a status stands for, at rest and in a rollout. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.api.v1alpha1.status import TrafficShare
from pointsman.contract import ALWAYS_STRONG

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.status import RolloutStatus, RoutingPolicyStatus

WHOLE: Final = 1000


def resting(status: RoutingPolicyStatus) -> list[TrafficShare]:
    """Return all of the traffic on the stable revision; always-strong where there is none."""
    return [TrafficShare(revision=status.stable_revision or ALWAYS_STRONG, weight_permille=WHOLE)]


def during(rollout: RolloutStatus) -> list[TrafficShare]:
    """Return the traffic of a rollout's present step."""
    weight = rollout.steps[-1].weight_permille if rollout.steps else 0
    shares = [TrafficShare(revision=rollout.incumbent, weight_permille=WHOLE - weight)]
    if weight:
        shares.append(TrafficShare(revision=rollout.candidate, weight_permille=weight))
    return shares


def due(status: RoutingPolicyStatus) -> list[TrafficShare]:
    """Return the traffic that must be in force: what the rollout under way says, else what rests."""
    rollout = status.rollout
    if rollout is not None and rollout.ended_at is None and rollout.steps:
        return during(rollout)
    return resting(status)
