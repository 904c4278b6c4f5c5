"""The status that follows from an observation and a decision. Pure: frozen in, a new status out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.conditions import (
    AcceptedReason,
    ProgrammedReason,
    condition,
    set_condition,
    summarize,
)
from pointsman.api.v1alpha1.routing_policy import RoutingPolicyStatus, TrafficShare
from pointsman.rollout.decide import Action
from pointsman.rollout.readiness import readiness

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.conditions import ConditionReason
    from pointsman.api.v1alpha1.meta import Condition
    from pointsman.rollout.decide import Decision
    from pointsman.rollout.observation import Observation, Programmed


def next_status(o: Observation, decision: Decision, now: datetime) -> RoutingPolicyStatus:
    """Return the status to write; equal to the present one if nothing changed."""
    status, generation = o.policy.status, o.policy.metadata.generation
    promote = decision.action == Action.PROMOTE
    stable = o.desired if promote else status.stable_revision
    traffic = [TrafficShare(revision=o.desired, weight_permille=1000)] if promote else status.traffic
    loaded, programmed = readiness(o), _programmed(o.programmed, moved=promote)
    found: list[tuple[ConditionReason, str]] = [
        (AcceptedReason.HOST_CONFLICT, o.conflict) if o.conflict else (AcceptedReason.ACCEPTED, ""),
        (loaded.reason, loaded.message),
        programmed,
        (decision.reason, decision.message),
    ]
    return RoutingPolicyStatus(
        observed_generation=generation,
        conditions=_conditions(status.conditions, found, generation, now),
        stable_revision=stable,
        candidate_revision=None if promote or o.promoted else o.desired,
        traffic=traffic,
    )


def _programmed(seen: Programmed, *, moved: bool) -> tuple[ProgrammedReason, str]:
    """Return the condition; what Envoys acknowledged says nothing of traffic that this very write moves."""
    if moved and seen.reason == ProgrammedReason.ACKNOWLEDGED:
        return ProgrammedReason.PENDING, ""
    return seen.reason, seen.message


def _conditions(
    old: list[Condition], found: list[tuple[ConditionReason, str]], generation: int, now: datetime
) -> list[Condition]:
    conditions = old
    for reason, message in found:
        conditions = set_condition(conditions, condition(reason, message, generation, now), now)
    return set_condition(conditions, summarize(conditions, generation, now), now)
