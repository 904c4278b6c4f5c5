"""A live rollout: look at its step, then go on, roll back or hold. Pure; at most one transition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import ConditionType, find
from pointsman.api.v1alpha1.status import StepStatus
from pointsman.rollout.actions.enter import enter
from pointsman.rollout.actions.promote import promote
from pointsman.rollout.actions.roll_back import roll_back
from pointsman.rollout.decision import REASON_OF_STEP, REASONS, implied
from pointsman.rollout.forecast import forecast
from pointsman.rollout.judged import verdict_statuses
from pointsman.rollout.moments import clock_time, moment, moment_of, unix
from pointsman.rollout.numbers import LIVE_S, noise_status, old_enough, savings
from pointsman.rollout.people import first_weight
from pointsman.rollout.readiness import readiness
from pointsman.rollout.steps import canary, gate, load, noise, shadow
from pointsman.rollout.steps.look import Look
from pointsman.rollout.steps.times import longest
from pointsman.rollout.traffic import WHOLE, due
from pointsman.rollout.words import clip, told

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pointsman.api.conditions import ProgressingReason
    from pointsman.api.v1alpha1.status import (
        RolloutStatus,
        RoutingPolicyStatus,
        StepName,
        StepState,
        VerdictStatus,
    )
    from pointsman.rollout.observation import Observation

_LOOKS: Final[dict[str, Callable[[Observation, RolloutStatus, datetime], Look]]] = {
    "Load": load.look,
    "Gate": gate.look,
    "Noise": noise.look,
    "Shadow": shadow.look,
    "Canary": canary.look,
    "Promotion": canary.look,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """What follows: a status, its reason of `Progressing`, and when time alone changes it (Unix time)."""

    status: RoutingPolicyStatus
    reason: ProgressingReason
    message: str
    moved: bool = False
    """A transition: something else may follow at once."""
    due_s: float | None = None


def look_at(o: Observation, rollout: RolloutStatus, now: datetime) -> Look:
    """Return what the present step's look finds; counts that cannot be are no evidence."""
    entry = rollout.steps[-1]
    try:
        return _LOOKS[entry.name](o, rollout, now)
    except ValueError as error:
        words = f"no evidence, so nothing is decided: the counts contradict themselves ({error})"
        over = unix(entry.started_at) + longest(o.settings, entry.name)
        return Look(REASONS.EVIDENCE_MISSING, words, blind=True, deadline_s=over, display=entry.name)


def progress(o: Observation, rollout: RolloutStatus, look: Look, now: datetime) -> Progress:  # noqa: PLR0911 - guard clauses
    """Return what follows from a look: most severe first."""
    if look.failed is not None:
        failed = roll_back(o.status, rollout, look.failed, look.because, now, judged=look.judged)
        return Progress(failed, *implied(o, failed), moved=True)
    held = _held(o, rollout, look, now)
    if held is not None:
        return _hold(o, rollout, held, now)
    if look.passed:
        moved = _onward(o, rollout, look, now)
        if moved is not None:
            return moved
        waiting = replace(look, reason=REASONS.AWAITING_APPROVAL, deadline_s=None)
        return _hold(o, rollout, _Hold(waiting, "AwaitingApproval"), now)
    if rollout.steps[-1].name == "Promotion":
        # what was proven once stays proven; only a Fail takes it back
        waiting = replace(look, reason=REASONS.AWAITING_APPROVAL, deadline_s=None)
        return _hold(o, rollout, _Hold(waiting, "AwaitingApproval"), now)
    deadline = _deadline(o, rollout, look, now)
    if deadline is not None and now.timestamp() >= deadline:
        return _inconclusive(o, rollout, look, deadline, now)
    return _hold(o, rollout, _Hold(replace(look, deadline_s=deadline), "Running"), now)


@dataclass(frozen=True, slots=True)
class _Hold:
    look: Look
    state: StepState


def _held(o: Observation, rollout: RolloutStatus, look: Look, now: datetime) -> _Hold | None:
    """Return why nothing goes on, whatever the counts say; a Fail has been acted on before."""
    if o.policy.spec.suspend:
        words = f"spec.suspend is true; {look.because}"
        paused = replace(look, reason=REASONS.SUSPENDED, because=words, deadline_s=None, due_s=None)
        return _Hold(paused, "Paused")
    if o.refusal is not None:
        words = f"the policy is not accepted ({o.refusal.reason}); {look.because}"
        deadline = _deadline(o, rollout, look, now)
        refused = replace(look, reason=REASONS.NOT_ACCEPTED, because=words, deadline_s=deadline)
        return _Hold(refused, "Running")
    loaded = readiness(o)
    if rollout.steps[-1].name == "Load" or loaded.ready or not look.passed:
        return None
    words = f"{look.because}; held while the candidate's classifier is not ready ({loaded.reason})"
    deadline = _deadline(o, rollout, look, now)
    waiting = replace(look, reason=REASONS.WAITING_FOR_CLASSIFIER, because=words, deadline_s=deadline)
    return _Hold(waiting, "Running")


def _onward(o: Observation, rollout: RolloutStatus, look: Look, now: datetime) -> Progress | None:  # noqa: PLR0911 - as above
    """Return the status in the next step or weight; None: it waits for approval."""
    cfg, entry = o.settings, rollout.steps[-1]
    approvals = cfg.approval
    if entry.name == "Promotion" or (entry.name == "Canary" and not entry.weight_permille):
        if entry.name in approvals:
            return None
        if entry.name == "Promotion":
            return _promoted(o, look, now)
        return _moved(first_weight(o, rollout, look.because, now), REASONS.CANARY)
    name = _following(o, entry.name)
    if name != "Canary":
        kept = o.status.model_copy(update=_counted(o, look))
        return _moved(enter(kept, rollout, name, 0, now, because=look.because), REASON_OF_STEP[name])
    weight = canary.next_weight(cfg, rollout)
    kept = o.status.model_copy(update=_counted(o, look))
    if weight == WHOLE and "Promotion" not in approvals:
        return _promoted(o, look, now)
    awaited = "Promotion" if weight == WHOLE else "Canary" if entry.weight_permille == 0 else ""
    if awaited in approvals:
        step: StepName = "Promotion" if weight == WHOLE else "Canary"
        held = entry.weight_permille
        waits = enter(kept, rollout, step, held, now, state="AwaitingApproval", because=look.because)
        return _moved(_displayed(o, waits), REASONS.AWAITING_APPROVAL)
    entered = enter(kept, rollout, "Canary", weight, now, because=look.because)
    if entry.name == "Canary" and o.status.step is not None and entered.step is not None:
        # one deadline for all weights, also where it was moved
        carried = entered.step.model_copy(update={"deadline": o.status.step.deadline})
        entered = entered.model_copy(update={"step": carried})
    return _moved(_displayed(o, entered), REASONS.CANARY)


def _following(o: Observation, name: StepName) -> StepName:
    """Return the step after one that has passed."""
    cfg = o.settings
    if name == "Load" and cfg.gate:
        return "Gate"
    if name in {"Load", "Gate"}:
        return "Noise"
    return "Shadow" if name == "Noise" and (cfg.shadow or cfg.mode == "Observe") else "Canary"


def _promoted(o: Observation, look: Look, now: datetime) -> Progress:
    status = promote(o, look.because, now, look.judged)
    return Progress(status, *implied(o, status), moved=True)


def _moved(status: RoutingPolicyStatus, reason: ProgressingReason) -> Progress:
    step = status.step
    return Progress(status, reason, told(step) if step else "", moved=True)


def _displayed(o: Observation, status: RoutingPolicyStatus) -> RoutingPolicyStatus:
    """Return the status with the canary's step written for people."""
    if status.rollout is None or status.step is None:
        return status
    shown = status.step.model_copy(update={"display": canary.display(o.settings, status.rollout)})
    return status.model_copy(update={"step": shown})


def _deadline(o: Observation, rollout: RolloutStatus, look: Look, now: datetime) -> float | None:
    """Return when the step is over: what the settings say, or later where it was given its time again.

    A step that comes out of a pause has its whole time before it.
    """
    step, entry = o.status.step, rollout.steps[-1]
    if look.deadline_s is None or step is None or step.index != entry.index:
        return look.deadline_s
    if step.state == "Paused":
        return max(look.deadline_s, now.timestamp() + longest(o.settings, entry.name))
    return max(look.deadline_s, unix(step.deadline)) if step.deadline is not None else look.deadline_s


def _inconclusive(
    o: Observation, rollout: RolloutStatus, look: Look, deadline: float, now: datetime
) -> Progress:
    """Hold, or go back: the step's time is over without a verdict."""
    words = f"no verdict until {clock_time(deadline)}: {look.because}"
    if o.settings.roll_back_if_inconclusive and o.settings.mode != "Observe":
        because = f"inconclusive: {words}"
        back = roll_back(o.status, rollout, "RolledBack", because, now, judged=look.judged)
        return Progress(back, *implied(o, back), moved=True)
    held = replace(look, reason=REASONS.INCONCLUSIVE, because=words, deadline_s=deadline)
    return _hold(o, rollout, _Hold(held, "Inconclusive"), now)


def _hold(o: Observation, rollout: RolloutStatus, hold: _Hold, now: datetime) -> Progress:
    """Return the status with what is known now; numbers alone are written every few seconds at most."""
    look, status, old = hold.look, o.status, o.status.step
    entry = rollout.steps[-1]
    due_s = min((at for at in (look.due_s, look.deadline_s) if at and at > now.timestamp()), default=None)
    traffic = due(status)
    shown = _shown(look.display or entry.name, hold.state)
    progressing = find(status.conditions, ConditionType.PROGRESSING)
    deadline = moment_of(look.deadline_s) if look.deadline_s is not None else None
    same = (
        old is not None
        and (old.name, old.index, old.state, old.deadline) == (entry.name, entry.index, hold.state, deadline)
        and progressing is not None
        and progressing.reason == look.reason
        and status.traffic == traffic
    )
    if same and old is not None and not old_enough(old, now, LIVE_S):
        return Progress(status, look.reason, told(old), due_s=due_s)
    guess = forecast(o, rollout, look)
    step = StepStatus(
        name=entry.name,
        index=entry.index,
        state=hold.state,
        started_at=entry.started_at,
        deadline=deadline,
        because=clip(look.because),
        samples_needed=guess.samples,
        minutes_needed=guess.minutes,
        expected_hours=guess.hours if guess.hours or old is None else old.expected_hours,
        advice=guess.advice if guess.hours or old is None else old.advice,
        display=shown[:64],
        counted_at=old.counted_at if old is not None else None,
    )
    found: dict[str, object] = {"step": step, "traffic": traffic, **_counted(o, look)}
    present: dict[str, object] = {key: getattr(status, key) for key in found}
    if found != present:
        found["step"] = step.model_copy(update={"counted_at": moment(now)})
        status = status.model_copy(update=found)
    return Progress(status, look.reason, told(step), due_s=due_s)


def _counted(o: Observation, look: Look) -> dict[str, object]:
    """Return verdicts, noise and savings as they are now."""
    if look.blind:
        doubted = [_doubted(verdict, look.because) for verdict in o.status.verdicts]
        return {"verdicts": doubted if look.reason == REASONS.EVIDENCE_MISSING else o.status.verdicts}
    verdicts = verdict_statuses(look.judged) if look.judged else o.status.verdicts
    return {"verdicts": verdicts, "noise": noise_status(o), "savings": savings(o)}


def _doubted(verdict: VerdictStatus, because: str) -> VerdictStatus:
    """Return a verdict that rests on counts which are missing now."""
    return verdict.model_copy(update={"verdict": "Error", "because": clip(because)})


def _shown(display: str, state: StepState) -> str:
    """Write the state behind the step where it is not simply running."""
    words = {"AwaitingApproval": "awaiting approval", "Paused": "paused", "Inconclusive": "inconclusive"}
    return f"{display} ({words[state]})" if state in words else display
