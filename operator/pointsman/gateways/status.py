"""Objects as they are → a RoutingGateway's status. Pure; the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.api.conditions import condition, find, named, set_condition, summed_up
from pointsman.api.gateway_conditions import (
    GATEWAY_REASONS,
    AvailableReason,
    CertifiedReason,
    GatewayAcceptedReason,
    GatewayConditionType,
)
from pointsman.api.v1alpha1.routing_gateway import RoutingGatewayStatus
from pointsman.workloads.pods import trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pointsman.api.conditions import ConditionReason

    Finding = tuple[ConditionReason, str]
    """A reason and its words; "" for the reason's own sentence."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a gateway."""

    generation: int
    status: RoutingGatewayStatus
    accepted: Finding
    certified: Finding
    deployment: Mapping[str, Any] | None
    pods: Sequence[Mapping[str, Any]]
    address: str
    policies: int


def next_status(seen: Seen, now: datetime) -> RoutingGatewayStatus:
    """Return the status that says what is seen."""
    conditions = list(seen.status.conditions)
    for reason, words in (seen.accepted, seen.certified, available(seen, now)):
        conditions = set_condition(conditions, condition(reason, words, seen.generation, now), now)
    counted = (seen.deployment or {}).get("status") or {}
    return RoutingGatewayStatus(
        observed_generation=seen.generation,
        conditions=summed_up(conditions, seen.generation, now, GATEWAY_REASONS),
        address=seen.address,
        listeners=seen.status.listeners,
        replicas=wanted(seen.deployment),
        ready_replicas=int(counted.get("readyReplicas", 0)),
        policies=seen.policies,
    )


def wanted(deployment: Mapping[str, Any] | None) -> int:
    """Return how many pods a Deployment shall have."""
    return 0 if deployment is None else int(deployment["spec"].get("replicas", 1))


def available(seen: Seen, now: datetime) -> Finding:
    """Return whether as many Envoys as wanted run this spec and are ready; else what holds them up."""
    deployment = seen.deployment
    if deployment is None:
        return AvailableReason.PROGRESSING, "the Deployment is not there yet"
    status, number = deployment.get("status") or {}, wanted(deployment)
    heard = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    new, ready = int(status.get("updatedReplicas", 0)), int(status.get("availableReplicas", 0))
    old = max(0, int(status.get("replicas", 0)) - new)
    if heard and old == 0 and min(new, ready) >= number:
        return AvailableReason.AVAILABLE, ""
    told = f"{min(ready, number)} of {number} Envoys serve"
    if heard and (old or new < number):
        told += f", {new} of them are of this spec" if old else f", {new} pods are there"
    found = trouble(seen.pods, deployment, now)
    if found is None:
        return AvailableReason.PROGRESSING, told
    return named(AvailableReason, found.cause.value), f"{told}; {found.words}"


def announcement(old: RoutingGatewayStatus, new: RoutingGatewayStatus) -> tuple[bool, str, str] | None:
    """Return what to tell people of a change: (is it well?, reason, words); None: nothing new."""
    before = find(old.conditions, GatewayConditionType.READY)
    after = find(new.conditions, GatewayConditionType.READY)
    if after is None or (before is not None and before.reason == after.reason):
        return None
    if after.status == "Unknown":
        return None
    return after.status == "True", after.reason, after.message


ACCEPTED = (GatewayAcceptedReason.ACCEPTED, "")
CERTIFIED = (CertifiedReason.CERTIFIED, "")
