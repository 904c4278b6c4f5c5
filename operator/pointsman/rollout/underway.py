"""A policy with a live rollout: superseded, in force at once, or one step on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.rollout.actions.begin import begin
from pointsman.rollout.actions.enter import enter
from pointsman.rollout.actions.promote import promote
from pointsman.rollout.actions.supersede import supersede
from pointsman.rollout.decision import (
    REASONS,
    Action,
    Decision,
    directly,
    done,
    frozen,
    implied,
    warm,
)
from pointsman.rollout.progress import look_at, progress
from pointsman.rollout.readiness import readiness
from pointsman.rollout.record import recording

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus
    from pointsman.rollout.observation import Observation

LOOK_S: Final = 5.0
"""A live rollout is looked at this often at least."""


def under_way(o: Observation, live: RolloutStatus, now: datetime) -> Decision:  # noqa: PLR0911 - guard clauses
    """Return the next step of a live rollout."""
    if live.candidate != o.desired:
        return superseded(o, live, f"the spec asks for {o.desired} now", now)
    if o.settings.mode == "Observe" and any(step.weight_permille for step in live.steps):
        return superseded(o, live, "spec.rollout.mode is Observe now", now)
    freezing = frozen(o)
    if freezing is not None:
        return freezing
    loaded = readiness(o)
    if o.settings.mode == "Direct" and loaded.ready and not o.policy.spec.suspend and o.refusal is None:
        back = promote(o, "spec.rollout.mode is Direct: proven by nobody", now)
        return Decision(Action.PROMOTE, REASONS.PROMOTED, done(o), None, back)
    if not live.steps:  # a status that lost its steps: from the first one on
        again = enter(o.status, live, "Load", 0, now)
        return Decision(Action.MOVE, REASONS.WAITING_FOR_CLASSIFIER, "from the first step again", 0.0, again)
    found = progress(o, live, look_at(o, live, now), now)
    if found.moved:
        action = Action.PROMOTE if found.reason == REASONS.PROMOTED else Action.MOVE
        return Decision(action, found.reason, found.message, 0.0, found.status)
    action = Action.NOTHING if loaded.ready else Action.LOAD_CLASSIFIER
    wait = LOOK_S if found.due_s is None else min(LOOK_S, max(0.0, found.due_s - now.timestamp()))
    return Decision(action, found.reason, found.message, wait, found.status)


def superseded(o: Observation, live: RolloutStatus, because: str, now: datetime) -> Decision:
    """End the rollout and begin the next one, if it can be: one write, and the incumbent serves."""
    over = supersede(o.status, live, because, now)
    message = f"{live.candidate} is superseded: {because}"
    freezing = frozen(o)
    action = freezing.action if freezing is not None else Action.MOVE
    if o.desired == over.stable_revision:
        return Decision(action, REASONS.PROMOTED, done(o), 0.0, over)
    waits = o.policy.spec.suspend or o.refusal is not None or action == Action.REPLACE_STRAY
    if warm(o, now) and not waits and freezing is None and readiness(o).ready:
        back = promote(o, f"{o.desired} was stable until lately and is warm", now)
        return Decision(Action.PROMOTE, REASONS.PROMOTED, done(o), 0.0, back)
    if waits or directly(o) or warm(o, now):
        return Decision(action, implied(o, over)[0], message, 0.0, over)
    due = recording(o, over, now)
    return Decision(action, REASONS.WAITING_FOR_CLASSIFIER, message, 0.0, begin(over, o, now), due)
