"""The decision: from an observation to one step. Pure; most severe first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pointsman.rollout import people
from pointsman.rollout.decision import REASONS, Action, Decision, implied, present
from pointsman.rollout.moments import unix
from pointsman.rollout.progress import look_at
from pointsman.rollout.record import recording
from pointsman.rollout.remembered import remembered
from pointsman.rollout.resting import resting
from pointsman.rollout.underway import under_way

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.rollout.observation import Kept, Observation

__all__ = ["KEEP", "Action", "Decision", "decide", "surplus"]

KEEP: Final = 10
"""Revisions kept of each policy."""


def decide(o: Observation, now: datetime) -> Decision:
    """Return the next step of a policy's rollout."""
    if o.policy.metadata.deletion_timestamp is not None:
        held = REASONS.PROMOTED if o.promoted else REASONS.WAITING_FOR_CLASSIFIER
        return Decision(Action.NOTHING, held, "the policy is being deleted")
    decision = remembered(o, now) or _of_people(o, now)
    if decision is None:
        decision = under_way(o, o.live, now) if o.live is not None else resting(o, now)
    if decision.record is None:
        decision = replace(decision, record=recording(o, decision.status or o.status, now))
    return _cooled(o, decision, now)


def surplus(o: Observation) -> tuple[Kept, ...]:
    """Return the oldest revisions beyond the `KEEP` that are kept, none of them in force."""
    excess = len(o.kept) - KEEP
    spare = [kept for kept in o.kept if kept.name not in o.in_force]
    return tuple(spare[: max(0, excess)])


def _of_people(o: Observation, now: datetime) -> Decision | None:
    """Return what a RolloutAction asks for; what is proven bad comes before a word that lets it go on."""
    seen = people.pending(o)
    if seen is None:
        return None
    live = o.live
    current = live if live is not None and live.steps and live.candidate == o.desired else None
    # the break-glass waits for no evidence
    look = look_at(o, current, now) if current is not None and seen.spec.action != "ForceStrong" else None
    if look is not None and look.failed is not None and seen.spec.action in {"Approve", "Retry"}:
        return None
    status, effect = people.apply(o, seen, look, now)
    if effect.effect == "NoEffect":
        return Decision(Action.NOTHING, *present(o), 0.0, status)
    return Decision(Action.MOVE, *implied(o, status), 0.0, status)


def _cooled(o: Observation, decision: Decision, now: datetime) -> Decision:
    """Let revisions go whose keepWarm is over, and look again when the next one's is."""
    status, names = decision.status or o.status, {kept.name for kept in o.kept}
    warm = [w for w in status.warm if unix(w.until) > now.timestamp() and w.revision in names]
    if warm != status.warm:
        decision = replace(decision, status=status.model_copy(update={"warm": warm}))
    cooling = min((unix(w.until) - now.timestamp() for w in warm), default=None)
    if cooling is None:
        return decision
    wait = decision.requeue_after
    return replace(decision, requeue_after=cooling if wait is None else min(wait, cooling))
