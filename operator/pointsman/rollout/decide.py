"""The decision: from an observation to one step. Pure; most severe first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import ProgressingReason
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.readiness import readiness

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.rollout.observation import Kept, Observation

KEEP: Final = 10
"""Revisions kept of each policy."""
WAIT_S: Final = 30.0
"""Longest wait for something that announces itself when it comes: only a safety net."""


class Action(StrEnum):
    """What a tick does, at most one: a file of `rollout.actions` each, but for the first."""

    NOTHING = "nothing"
    FREEZE_REVISION = "freeze_revision"
    REPLACE_STRAY = "replace_stray"
    LOAD_CLASSIFIER = "load_classifier"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Decision:
    """One step, the reason of `Progressing` that it means, and when to look again (None: on an event)."""

    action: Action
    reason: ProgressingReason
    message: str
    requeue_after: float | None = None


def decide(o: Observation, now: datetime) -> Decision:  # noqa: ARG001, PLR0911 - guard clauses; no step takes time yet
    """Return the next step of a policy's rollout."""
    reasons = ProgressingReason
    serving = f"{o.policy.status.stable_revision or ALWAYS_STRONG} serves meanwhile"
    held = reasons.PROMOTED if o.promoted else reasons.WAITING_FOR_CLASSIFIER
    done = f"{o.desired} has all of the traffic"
    if o.policy.metadata.deletion_timestamp is not None:
        return Decision(Action.NOTHING, held, "the policy is being deleted")
    if any(stray.name == o.desired for stray in o.strays):
        words = f"{o.desired} is left over from an earlier policy of this name and is replaced; {serving}"
        return Decision(Action.REPLACE_STRAY, reasons.WAITING_FOR_CLASSIFIER, words, 0.0)
    if o.find(o.desired) is None:
        words = done if o.promoted else f"{o.desired} is new; {serving}"
        return Decision(Action.FREEZE_REVISION, held, words, 0.0)
    if o.refusal is not None and not o.promoted:
        words = f"{o.desired} waits until the policy is accepted ({o.refusal.reason}); {serving}"
        return Decision(Action.NOTHING, reasons.NOT_ACCEPTED, words, WAIT_S)
    loaded = readiness(o)
    if not loaded.ready:
        words = done if o.promoted else f"{o.desired} waits for its classifier ({loaded.reason}); {serving}"
        return Decision(Action.LOAD_CLASSIFIER, held, words, min(WAIT_S, loaded.retry_after_s or WAIT_S))
    suspended = bool(o.policy.spec.suspend)
    if not o.promoted and suspended:
        words = f"{o.desired} is ready and waits because spec.suspend is true; {serving}"
        return Decision(Action.NOTHING, reasons.SUSPENDED, words)
    if not o.promoted:
        return Decision(Action.PROMOTE, reasons.PROMOTED, done)
    words = f"{done}; spec.suspend is true: a new revision would wait" if suspended else done
    return Decision(Action.NOTHING, reasons.PROMOTED, words)


def surplus(o: Observation) -> tuple[Kept, ...]:
    """Return the oldest revisions beyond the `KEEP` that are kept, none of them in force."""
    excess = len(o.kept) - KEEP
    spare = [kept for kept in o.kept if kept.name not in o.in_force]
    return tuple(spare[: max(0, excess)])
