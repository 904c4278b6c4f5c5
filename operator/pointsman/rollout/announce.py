"""What people are told of a status write, as events: only what it changed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pointsman.api.conditions import ConditionType, ProgressingReason, find
from pointsman.contract import ALWAYS_STRONG

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.status import RoutingPolicyStatus

Kind = Literal["Normal", "Warning"]

_LONGEST: Final = 1000
_TOLD = (ConditionType.ACCEPTED, ConditionType.CLASSIFIER_READY, ConditionType.PROGRAMMED)
_QUIET = frozenset(
    {"Accepted", "Acknowledged", "Pending", "NoEnvoy", "XdsUnreachable", "Loading", "NotNeeded"}
)
"""Reasons of the ordinary course of things: the conditions tell them, events would only repeat it."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One event about a policy. `reason` and `action` are CamelCase words."""

    kind: Kind
    reason: str
    action: str
    note: str


def announcements(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> tuple[Announcement, ...]:
    """Return the events of a status write that succeeded."""
    told = [*_frozen(old, new), *_conditions(old, new), *_actions(old, new), *_rollout(old, new)]
    if new.stable_revision is not None and new.stable_revision != old.stable_revision:
        before_it = old.stable_revision or ALWAYS_STRONG
        note = f"{new.stable_revision} has all of the traffic; before it {before_it}"
        because = new.step.because if new.step is not None else ""
        told.append(
            Announcement("Normal", "Promoted", "Promote", _clip(f"{note}: {because}" if because else note))
        )
    return (*told, *_step(old, new))


def _frozen(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> list[Announcement]:
    if not new.candidate_revision or new.candidate_revision == old.candidate_revision:
        return []
    return [Announcement("Normal", "RevisionFrozen", "Freeze", f"{new.candidate_revision} is on its way")]


def _conditions(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> list[Announcement]:
    """Return what happened to the conditions; of `Progressing` only that the counts are missing."""
    told = []
    for kind in (*_TOLD, ConditionType.PROGRESSING):
        before, after = find(old.conditions, kind), find(new.conditions, kind)
        if after is None or after.reason in _QUIET or (before and before.reason == after.reason):
            continue
        if kind == ConditionType.PROGRESSING and after.reason != ProgressingReason.EVIDENCE_MISSING:
            continue
        severity: Kind = "Normal" if after.status == "True" else "Warning"
        told.append(Announcement(severity, after.reason, "Reconcile", _clip(after.message)))
    return told


def _actions(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> list[Announcement]:
    known, told = {action.uid for action in old.last_actions}, []
    for action in new.last_actions:
        if action.uid in known:
            continue
        note = _clip(f"{action.action} by {action.requested_by} ({action.name}): {action.message}")
        applied = action.effect == "Applied"
        kind: Kind = "Normal" if applied else "Warning"
        told.append(Announcement(kind, "ActionApplied" if applied else "ActionWithoutEffect", "Act", note))
    return told


def _rollout(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> list[Announcement]:
    """Return that a rollout ended, that one began, and which steps and weights it entered."""
    before, after = old.rollout, new.rollout
    if after is None:
        return []
    told: list[Announcement] = []
    same = before is not None and before.id == after.id
    if before is not None and not same and before.ended_at is None:
        note = f"{before.candidate} is superseded by {after.candidate}; {before.incumbent} serves"
        told.append(Announcement("Normal", "Superseded", "Supersede", note))
    if not same:
        note = f"attempt {after.attempt} of {after.candidate} against {after.incumbent} (rollout {after.id})"
        told.append(Announcement("Normal", "RolloutStarted", "Begin", note))
    seen = len(before.steps) if before is not None and same else 0
    for step in after.steps[seen:]:
        if step.name == "RolledBack" or after.outcome == "Promoted":
            continue
        weight = f"{step.weight_permille / 10:g} %"
        if step.name == "Canary" and step.weight_permille:
            note = f"{after.candidate} takes {weight} of the traffic"
            told.append(Announcement("Normal", "CanaryWeight", "Enter", note))
        else:
            told.append(
                Announcement("Normal", "StepEntered", "Enter", f"{step.name}: {after.candidate} at {weight}")
            )
    over = after.ended_at is not None and (not same or (before is not None and before.ended_at is None))
    if over and after.outcome is not None and after.outcome != "Promoted":
        gone = after.outcome == "Superseded"
        note = _clip(f"{after.candidate}: {after.because}; {new.stable_revision or ALWAYS_STRONG} serves")
        kind: Kind = "Normal" if gone else "Warning"
        told.append(Announcement(kind, after.outcome, "Supersede" if gone else "RollBack", note))
    return told


def _step(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> list[Announcement]:
    """Return that a step waits for somebody, and that a rollout will take long."""
    step, before, told = new.step, old.step, []
    if step is None:
        return []
    if step.state != (before.state if before is not None else "Running"):
        note = _clip(f"{step.display}: {step.because}")
        if step.state == "Inconclusive":
            told.append(Announcement("Warning", "Inconclusive", "Hold", note))
        elif step.state == "AwaitingApproval":
            wanted = (
                f"; create a RolloutAction Approve with revision {new.candidate_revision}, step {step.name}"
            )
            told.append(Announcement("Normal", "ApprovalNeeded", "Hold", _clip(note + wanted)))
    if step.advice and not (before is not None and before.advice):
        told.append(Announcement("Warning", "SlowRollout", "Forecast", _clip(step.advice)))
    return told


def _clip(note: str) -> str:
    """Cut a note to what an event holds (1 kB)."""
    return note if len(note) <= _LONGEST else f"{note[: _LONGEST - 1]}…"
