"""A policy without a rollout under way: what is in force stays, or something begins. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.actions.begin import begin
from pointsman.rollout.actions.end import at_rest
from pointsman.rollout.actions.promote import promote
from pointsman.rollout.decision import (
    REASONS,
    Action,
    Decision,
    directly,
    done,
    frozen,
    implied,
    serving,
    warm,
)
from pointsman.rollout.numbers import with_resting_numbers
from pointsman.rollout.readiness import readiness
from pointsman.rollout.traffic import due

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.rollout.observation import Observation

WAIT_S: Final = 30.0
"""Longest wait for something that announces itself when it comes: only a safety net."""


def resting(o: Observation, now: datetime) -> Decision:
    """Return the next step of a policy without a live rollout."""
    status = _tidied(o, now)
    freezing = frozen(o)
    if freezing is not None:
        return replace(freezing, status=status)
    if o.barred is not None:
        return Decision(Action.NOTHING, *implied(o, status), None, status)
    if o.refusal is not None and not o.promoted:
        words = f"{o.desired} waits until the policy is accepted ({o.refusal.reason}); {serving(o)}"
        return Decision(Action.NOTHING, REASONS.NOT_ACCEPTED, words, WAIT_S, status)
    if o.promoted or directly(o) or warm(o, now):
        return _at_once(o, status, now)
    if o.policy.spec.suspend:
        words = f"{o.desired} waits because spec.suspend is true; {serving(o)}"
        return Decision(Action.NOTHING, REASONS.SUSPENDED, words, None, status)
    words = f"{o.desired} begins to prove itself against {status.stable_revision or ALWAYS_STRONG}"
    return Decision(Action.MOVE, REASONS.WAITING_FOR_CLASSIFIER, words, 0.0, begin(status, o, now))


def _at_once(o: Observation, status: RoutingPolicyStatus, now: datetime) -> Decision:
    """Put a revision in force that need not prove itself: stable already, warm, or mode Direct."""
    loaded = readiness(o)
    if not loaded.ready:
        held = REASONS.PROMOTED if o.promoted else REASONS.WAITING_FOR_CLASSIFIER
        waits = f"{o.desired} waits for its classifier ({loaded.reason}); {serving(o)}"
        wait = min(WAIT_S, loaded.retry_after_s or WAIT_S)
        return Decision(Action.LOAD_CLASSIFIER, held, done(o) if o.promoted else waits, wait, status)
    suspended = bool(o.policy.spec.suspend)
    if not o.promoted and suspended:
        words = f"{o.desired} is ready and waits because spec.suspend is true; {serving(o)}"
        return Decision(Action.NOTHING, REASONS.SUSPENDED, words, None, status)
    if not o.promoted:
        back = promote(o, _why_at_once(o, now), now)
        return Decision(Action.PROMOTE, REASONS.PROMOTED, done(o), None, back)
    words = f"{done(o)}; spec.suspend is true: a new revision would wait" if suspended else done(o)
    return Decision(Action.NOTHING, REASONS.PROMOTED, words, None, status)


def _why_at_once(o: Observation, now: datetime) -> str:
    if o.status.stable_revision == o.desired:
        return f"{o.desired} is stable and has its traffic back"
    if warm(o, now):
        return f"{o.desired} was stable until lately and is warm"
    return "spec.rollout says Direct: proven by nobody"


def _tidied(o: Observation, now: datetime) -> RoutingPolicyStatus:
    """Return the status at rest as it must be: traffic on what is stable, a step that says so, numbers."""
    status = o.status
    # Empty is always-strong: a stable revision gets back what was lost once its classifier is ready.
    traffic = due(status) if status.traffic else status.traffic
    candidate = None if o.promoted or o.barred is not None else o.desired
    status = status.model_copy(update={"traffic": traffic, "candidate_revision": candidate})
    if o.promoted and (status.step is None or status.step.name != "Stable"):
        return at_rest(status, "Stable", "", now)
    return with_resting_numbers(status, o, now) if o.promoted or o.barred is not None else status
