"""RolloutActions: which one is next, and what it does; effect and uid go into one status write. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.api.v1alpha1.status import AppliedAction, StepStatus
from pointsman.rollout.actions.begin import begin
from pointsman.rollout.actions.end import serving
from pointsman.rollout.actions.enter import enter
from pointsman.rollout.actions.force_strong import force_strong
from pointsman.rollout.actions.promote import promote
from pointsman.rollout.actions.roll_back import roll_back
from pointsman.rollout.moments import moment, moment_of, unix
from pointsman.rollout.steps import canary
from pointsman.rollout.steps.times import longest
from pointsman.rollout.words import clip, percent

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.rollout_action import RolloutActionSpec
    from pointsman.api.v1alpha1.status import RolloutStatus, RoutingPolicyStatus
    from pointsman.rollout.observation import Observation, SeenAction
    from pointsman.rollout.steps.look import Look

REMEMBERED: Final = 10

Effect = tuple["RoutingPolicyStatus | None", str]
"""The status with what it did (None: it does nothing), and the words for the record."""


def pending(o: Observation) -> SeenAction | None:
    """Return the oldest RolloutAction that has not been looked at.

    Looked at is what status.lastActions names, what its own status settles, and what is older than the oldest
    of a full list.
    """
    known = o.status.last_actions
    uids = {action.uid for action in known}
    full = min((unix(a.created_at), a.uid) for a in known) if len(known) >= REMEMBERED else None
    waiting = [
        seen
        for seen in o.actions
        if seen.uid not in uids
        and not seen.settled
        and (full is None or (unix(seen.created), seen.uid) > full)
    ]
    return min(waiting, key=lambda seen: (unix(seen.created), seen.uid), default=None)


def apply(
    o: Observation, seen: SeenAction, look: Look | None, now: datetime
) -> tuple[RoutingPolicyStatus, AppliedAction]:
    """Return the status after an action, and what it did; `look`: at the live step, if there is one."""
    spec = seen.spec
    stale = _stale(o, seen)
    if stale:
        changed, message = None, stale
    else:
        changed, message = _EFFECTS[spec.action](o, spec, look, now)
    record = AppliedAction(
        uid=seen.uid,
        name=seen.name,
        action=spec.action,
        requested_by=spec.requested_by,
        effect="Applied" if changed is not None else "NoEffect",
        message=clip(message),
        created_at=moment_of(unix(seen.created)),
        at=moment(now),
    )
    status = changed if changed is not None else o.status
    known = sorted([record, *status.last_actions], key=lambda a: (unix(a.created_at), a.uid), reverse=True)
    return status.model_copy(update={"last_actions": known[:REMEMBERED]}), record


def _stale(o: Observation, seen: SeenAction) -> str:  # noqa: PLR0911 - guard clauses, one word each
    """Say what the action names that is not so any more; "" if it is about what is there."""
    spec = seen.spec
    made = o.policy.metadata.creation_timestamp
    if made and unix(seen.created) < unix(made):
        return "it is older than the policy"
    if spec.action == "ForceStrong":
        names = {o.desired, o.status.stable_revision, o.live.candidate if o.live else None}
        known = spec.revision in names | {None}
        return "" if known else f"revision {spec.revision} is not in force or on its way"
    about = _about(o)
    if about is None:
        return f"no rollout is under way and none has failed; {serving(o.status)} serves"
    revision, attempt, since = about
    if spec.revision is not None and spec.revision != revision:
        return f"revision is {spec.revision}, the one that it could be about is {revision}"
    if spec.attempt is not None and spec.attempt != attempt:
        return f"attempt is {spec.attempt}, the present one is {attempt}"
    present = o.status.step.name if o.status.step is not None else ""
    if spec.step is not None and spec.step != present:
        return f"step is {spec.step}, the rollout is at {present or 'none'}"
    # Who names the attempt needs no clock: the API server's and ours may be minutes apart.
    # Kubernetes stamps whole seconds, so the second of the begin itself is not "before".
    if spec.attempt is None and unix(seen.created) + 1 <= unix(since):
        return f"it is older than what is there now: attempt {attempt} of {revision}, {since}"
    return ""


def _about(o: Observation) -> tuple[str, int, str] | None:
    """Return what an action can be about: revision, attempt, and since when it is so."""
    if o.live is not None:
        return o.live.candidate, o.live.attempt, o.live.started_at
    if o.barred is not None:
        return o.barred.revision, o.barred.attempts, o.barred.at
    return None


def approve(o: Observation, spec: RolloutActionSpec, look: Look | None, now: datetime) -> Effect:
    """Let the step begin that waits."""
    live, step = o.live, o.status.step
    if live is None or step is None or step.state != "AwaitingApproval":
        state = f"{step.display or step.name} is {step.state}" if step is not None else "there is no rollout"
        return None, f"nothing waits for approval: {state}"
    words = f"approved by {spec.requested_by}" + (f": {spec.reason}" if spec.reason else "")
    if step.name == "Promotion":
        judged = look.judged if look is not None else ()
        return promote(o, f"{words}; {look.because if look else ''}".rstrip("; "), now, judged), words
    return first_weight(o, live, words, now), words


def first_weight(o: Observation, live: RolloutStatus, words: str, now: datetime) -> RoutingPolicyStatus:
    """Return the status with the candidate's first share of the traffic."""
    weight = canary.next_weight(o.settings, live)
    entered = enter(o.status, live, "Canary", weight, now, because=words)
    rollout = entered.rollout
    if rollout is None or entered.step is None:
        return entered
    shown = entered.step.model_copy(update={"display": canary.display(o.settings, rollout)})
    return entered.model_copy(update={"step": shown})


def abort(o: Observation, spec: RolloutActionSpec, look: Look | None, now: datetime) -> Effect:
    """End the rollout."""
    live = o.live
    if live is None:
        return None, f"no rollout is under way; {serving(o.status)} serves"
    at = percent(live.steps[-1].weight_permille) if live.steps else "0 %"
    words = f"aborted by {spec.requested_by} at {at}" + (f": {spec.reason}" if spec.reason else "")
    return roll_back(o.status, live, "Aborted", words, now, judged=look.judged if look else ()), words


def retry(o: Observation, spec: RolloutActionSpec, look: Look | None, now: datetime) -> Effect:  # noqa: ARG001 - one signature for all
    """Try a revision that failed once more, or give an inconclusive step its time again."""
    step = o.status.step
    if o.policy.spec.suspend:
        return None, "spec.suspend is true; set it to false first"
    if o.live is not None:
        if step is None or step.state != "Inconclusive":
            return None, f"{o.live.candidate} is under way and not inconclusive"
        again = StepStatus(
            name=step.name,
            index=step.index,
            started_at=step.started_at,
            deadline=moment_of(now.timestamp() + longest(o.settings, step.name)),
            because=f"its time begins anew, as {spec.requested_by} asked",
            display=step.display,
        )
        return o.status.model_copy(update={"step": again}), "the step has its time again"
    if o.barred is None:
        return None, f"{o.desired} has not failed; {serving(o.status)} serves"
    if o.find(o.desired) is None:
        return None, f"revision {o.desired} is not there; ask again"
    begun = begin(o.status, o, now)
    attempt = begun.rollout.attempt if begun.rollout is not None else 1
    return begun, f"attempt {attempt} of {o.desired} begins, as {spec.requested_by} asked"


def force(o: Observation, spec: RolloutActionSpec, look: Look | None, now: datetime) -> Effect:  # noqa: ARG001 - as above
    """Send everything to the last tier."""
    barred = o.barred
    if barred is not None and barred.outcome == "ForcedStrong":
        return None, "all of the traffic goes to the last tier already"
    words = f"forced by {spec.requested_by}" + (f": {spec.reason}" if spec.reason else "")
    return force_strong(o, words, now), f"{words}; before it {serving(o.status)}"


_EFFECTS: Final = {"Approve": approve, "Abort": abort, "Retry": retry, "ForceStrong": force}
