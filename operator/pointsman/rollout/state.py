"""The status that follows from an observation and a decision. Pure: frozen in, a new status out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pointsman.api.conditions import (
    AcceptedReason,
    ProgrammedReason,
    condition,
    set_condition,
    summed_up,
)
from pointsman.rollout.placing import place_in_force
from pointsman.rollout.readiness import readiness

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.conditions import ConditionReason
    from pointsman.api.v1alpha1.meta import Condition
    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.rollout.decide import Decision
    from pointsman.rollout.observation import Observation, Programmed


class Unreadable(Protocol):
    """A policy whose spec does not parse."""

    @property
    def generation(self) -> int:
        """Its metadata.generation."""
        ...

    @property
    def problem(self) -> str:
        """What is wrong with it."""
        ...

    @property
    def status(self) -> RoutingPolicyStatus:
        """Its status as far as it is readable."""
        ...


def next_status(o: Observation, decision: Decision, now: datetime) -> RoutingPolicyStatus:
    """Return the status to write; equal to the present one if nothing changed."""
    generation = o.policy.metadata.generation
    status = decision.status if decision.status is not None else o.policy.status
    loaded, moved = readiness(o), status.traffic != o.policy.status.traffic
    programmed = _programmed(o.programmed, moved=moved)
    found: list[tuple[ConditionReason, str]] = [
        (o.refusal.reason, o.refusal.message) if o.refusal else (AcceptedReason.ACCEPTED, ""),
        (loaded.reason, loaded.message),
        programmed,
        (decision.reason, decision.message),
    ]
    conditions = _conditions(o.policy.status.conditions, found, generation, now)
    changed: dict[str, object] = {
        "observed_generation": generation,
        "conditions": conditions,
        "triton": place_in_force(o),
    }
    if status.step is not None:
        changed["step"] = status.step.model_copy(update={"weight_permille": candidates_share(status)})
    return status.model_copy(update=changed)


def candidates_share(status: RoutingPolicyStatus) -> int:
    """Return the candidate's permille of the traffic; without a rollout the stable revision's."""
    tried = status.rollout.candidate if status.rollout is not None else status.stable_revision
    return next((share.weight_permille for share in status.traffic if share.revision == tried), 0)


def unreadable_status(stored: Unreadable, now: datetime) -> RoutingPolicyStatus:
    """Return the status of a policy whose spec this version cannot read: what is in force stays."""
    found: list[tuple[ConditionReason, str]] = [(AcceptedReason.INVALID_SPEC, stored.problem)]
    conditions = _conditions(stored.status.conditions, found, stored.generation, now)
    changed = {"observed_generation": stored.generation, "conditions": conditions}
    return stored.status.model_copy(update=changed)


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
    return summed_up(conditions, generation, now)
