"""Canary and Promotion: both arms served side by side, and what the next weight asks of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import ProgressingReason
from pointsman.rollout.judged import worst_first
from pointsman.rollout.moments import clock_time, unix
from pointsman.rollout.steps.look import Look, first
from pointsman.rollout.steps.sight import blindness
from pointsman.rollout.verdicts import canary_verdicts, starts_of
from pointsman.rollout.words import percent

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.settings import Settings
    from pointsman.api.v1alpha1.status import RolloutStatus
    from pointsman.rollout.observation import Observation

WHOLE: Final = 1000
_MOST_STEPS: Final = 60
"""Entries of status.rollout.steps after which no further weight is tried but the whole."""


def look(o: Observation, rollout: RolloutStatus, now: datetime) -> Look:
    """Judge both arms. Passed: nothing fails, minDuration is over, every margin of the next weight is met."""
    reason, entry = ProgressingReason.CANARY, rollout.steps[-1]
    begun = next((unix(s.started_at) for s in rollout.steps if s.weight_permille > 0), None)
    if begun is None:  # waits for approval of the first weight: nothing is served, nothing can fail
        weight = percent(next_weight(o.settings, rollout))
        words = f"{rollout.candidate} is ready to take {weight} of the traffic"
        return Look(reason, words, passed=True, display=display(o.settings, rollout))
    deadline = begun + o.settings.canary_max_s
    shown = display(o.settings, rollout)
    blind = blindness(o, rollout, now, reason)
    if blind is not None:
        return Look(*blind, blind=True, deadline_s=deadline, display=shown)
    following = next_weight(o.settings, rollout)
    seen_until = min(o.evidence.at_s, o.evidence.scored_until_s)
    judged = canary_verdicts(o, rollout, following / WHOLE, starts_of(rollout, o.evidence.at_s))
    failed, unclear = first(judged, "Fail"), first(judged, "Error") or first(judged, "Undecided")
    if failed is not None:
        return Look(reason, failed.because, failed="RolledBack", judged=judged, display=shown)
    goal = "promotion" if following == WHOLE else percent(following)
    due = unix(entry.started_at) + _min_duration(o.settings, entry.weight_permille)
    if unclear is not None:
        words = f"{unclear.because} for {goal}"
        return Look(reason, words, judged=judged, due_s=due, deadline_s=deadline, display=shown)
    if entry.name == "Canary" and seen_until < due:
        held = percent(entry.weight_permille)
        words = f"every margin of {goal} is met; {held} is held until {clock_time(due)}"
        if now.timestamp() >= due:
            words = f"{words} and answers until then are scored"
        return Look(reason, words, judged=judged, due_s=due, deadline_s=deadline, display=shown)
    words = f"every margin of {goal} is met, nearest: {worst_first(judged)[0].because}"
    return Look(reason, words, passed=True, judged=judged, deadline_s=deadline, display=shown)


def next_weight(cfg: Settings, rollout: RolloutStatus) -> int:
    """Return the next weight of the spec above the present one, in permille; 1000 is promotion."""
    present = rollout.steps[-1].weight_permille
    if rollout.steps[-1].name == "Promotion" or len(rollout.steps) >= _MOST_STEPS:
        return WHOLE
    return min((s.weight_permille for s in cfg.steps if s.weight_permille > present), default=WHOLE)


def display(cfg: Settings, rollout: RolloutStatus) -> str:
    """Write the step for people: Canary 2/4 · 25 %."""
    entry = rollout.steps[-1]
    if entry.name == "Promotion":
        return f"Promotion · {percent(entry.weight_permille)}"
    done = sum(1 for step in cfg.steps if step.weight_permille <= entry.weight_permille)
    return f"Canary {done}/{len(cfg.steps)} · {percent(entry.weight_permille)}"


def _min_duration(cfg: Settings, weight_permille: int) -> float:
    """Return how long this weight is held at least; one that the spec names no more is not held."""
    return next((s.min_duration_s for s in cfg.steps if s.weight_permille == weight_permille), 0.0)
