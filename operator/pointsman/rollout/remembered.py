"""What the evaluator remembers and the cluster does not: etcd was put back to an older state. Pure.

In a history without gaps an attempt that has ended is known: by the policy's status, or by the record in its
revision. Where it is not, its end is done once more, without asking the counts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.rollout.actions.force_strong import force_strong
from pointsman.rollout.actions.roll_back import roll_back
from pointsman.rollout.decision import Action, Decision, implied
from pointsman.rollout.moments import moment_of, unix
from pointsman.rollout.underway import superseded

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import Outcome, RolloutStatus
    from pointsman.rollout.evidence import Ended
    from pointsman.rollout.observation import Observation

_FAILED: Final[dict[str, Outcome]] = {
    "RolledBack": "RolledBack",
    "ShadowFailed": "ShadowFailed",
    "GateFailed": "GateFailed",
    "Aborted": "Aborted",
    "ForcedStrong": "ForcedStrong",
}


def remembered(o: Observation, now: datetime) -> Decision | None:
    """Return the end of what goes on here though it has ended before; None: nothing does."""
    live = o.live
    if live is None:
        return _at_rest(o, now)
    end = _end_of(o, live)
    if end is None:
        return None
    if end.outcome == "ForcedStrong":
        return _forced(o, end, now)
    outcome = _FAILED.get(end.outcome)
    if outcome is None:
        # its counts may be gone, and what came after it is not known: a new attempt proves it anew
        return superseded(o, live, f"{_words(end)}; it proves itself anew", now)
    again = live.model_copy(update={"attempt": max(live.attempt, end.attempt)})
    status = roll_back(o.status, again, outcome, _words(end), now)
    return Decision(Action.MOVE, *implied(o, status), 0.0, status)


def _end_of(o: Observation, live: RolloutStatus) -> Ended | None:
    """Return how the rollout under way ended, or a later attempt of its candidate that nobody here knows."""
    for end in _ends(o):
        if end.revision != live.candidate:
            continue
        if end.rollout == live.id:
            return end
        forgotten = end.rollout not in _known(o) and not _moved_on(o, end)
        if forgotten and (
            end.attempt > live.attempt or (end.attempt == live.attempt and end.outcome in _FAILED)
        ):
            return end
    return None


def _at_rest(o: Observation, now: datetime) -> Decision | None:
    """Send everything to the last tier again, if somebody had done so since."""
    if o.settings.mode == "Direct":
        return None  # there revisions come into force without a rollout that could tell when
    rollout = o.status.rollout
    begun_s = unix(rollout.started_at) if rollout is not None else float("-inf")
    for end in _ends(o):
        if end.outcome != "ForcedStrong" or end.at_s <= begun_s:
            continue
        about = o.status.stable_revision is not None and end.revision in {o.status.stable_revision, o.desired}
        if about and all(failed.revision != end.revision for failed in o.status.failed_revisions):
            return _forced(o, end, now)
    return None


def _forced(o: Observation, end: Ended, now: datetime) -> Decision:
    status = force_strong(o, _words(end), now)
    return Decision(Action.MOVE, *implied(o, status), 0.0, status)


def _ends(o: Observation) -> tuple[Ended, ...]:
    return tuple(end for end in o.evidence.ended if end.uid == o.policy.metadata.uid)


def _known(o: Observation) -> frozenset[str]:
    """Return the ids of the rollouts that the revisions' records tell of."""
    return frozenset(record.rollout.id for kept in o.kept for record in kept.status.attempts)


def _moved_on(o: Observation, end: Ended) -> bool:
    """Tell whether another revision was tried after the end: then its record was let go in time."""
    others = (kept for kept in o.kept if kept.name != end.revision)
    return any(unix(r.rollout.started_at) > end.at_s for kept in others for r in kept.status.attempts)


def _words(end: Ended) -> str:
    """Say what is remembered, and what the user may do who knows better."""
    named = f"rollout {end.rollout}" if end.rollout else "the last word on it"
    return (
        f"{named} ended as {end.outcome} on {moment_of(end.at_s)}; the evaluator remembers it, "
        "the API server came back with an older state"
    )
