"""What people are told of a status write, as events: only what it changed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pointsman.api.conditions import ConditionType, find
from pointsman.contract import ALWAYS_STRONG

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.status import RoutingPolicyStatus

_TOLD = (ConditionType.ACCEPTED, ConditionType.CLASSIFIER_READY, ConditionType.PROGRAMMED)
_QUIET = frozenset(
    {"Accepted", "Acknowledged", "Pending", "NoEnvoy", "XdsUnreachable", "Loading", "NotNeeded"}
)
"""Reasons of the ordinary course of things: the conditions tell them, events would only repeat it."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One event about a policy. `reason` and `action` are CamelCase words."""

    kind: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str


def announcements(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> tuple[Announcement, ...]:
    """Return the events of a status write that succeeded."""
    told: list[Announcement] = []
    if new.candidate_revision and new.candidate_revision != old.candidate_revision:
        note = f"{new.candidate_revision} is on its way"
        told.append(Announcement("Normal", "RevisionFrozen", "Freeze", note))
    for kind in _TOLD:
        before, after = find(old.conditions, kind), find(new.conditions, kind)
        if after is None or after.reason in _QUIET or (before and before.reason == after.reason):
            continue
        severity: Literal["Normal", "Warning"] = "Normal" if after.status == "True" else "Warning"
        told.append(Announcement(severity, after.reason, "Reconcile", after.message))
    if new.stable_revision != old.stable_revision:
        before_it = old.stable_revision or ALWAYS_STRONG
        note = f"{new.stable_revision} has all of the traffic; before it {before_it}"
        told.append(Announcement("Normal", "Promoted", "Promote", note))
    return tuple(told)
