"""How long a rollout will take, from its counts: told in the status, and as a warning where it is long."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pointsman.api.conditions import ProgrammedReason
from pointsman.api.v1alpha1.status import RolloutStatus, RolloutStep, RoutingPolicyStatus
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.announce import announcements
from pointsman.rollout.decide import decide
from pointsman.rollout.evidence import Evidence, HalfWindow, StreamKey, Tally, Window
from pointsman.rollout.moments import moment_of
from pointsman.rollout.observation import Kept, Observation, Programmed
from pointsman.rollout.question import GUARDS
from pointsman.rollout.revisions import desired_name, revision_spec
from pointsman.rollout.state import next_status
from rollout_world import RUBRIC, START, policy

STEPS = [{"weightPermille": weight, "minDuration": "15m"} for weight in (10, 50, 250, 500)]
SLOW: dict[str, Any] = {
    "noise": {"window": "15m"},
    "shadow": {"mode": "Off"},
    "canary": {"steps": STEPS},
    "verdict": {},
}
HOUR = 3600.0


def canary(per_second: float, steps: list[dict[str, Any]] | None = None) -> Observation:
    """Return a rollout one hour after its begin, in its first weight, with equally good arms at 90 %."""
    made = policy(rollout=SLOW | {"canary": {"steps": steps or STEPS}})
    name = desired_name(made)
    began = START
    entries = [
        RolloutStep(index=0, name="Load", started_at=moment_of(began)),
        RolloutStep(index=1, name="Noise", started_at=moment_of(began)),
        RolloutStep(index=2, name="Canary", weight_permille=10, started_at=moment_of(began + HOUR / 2)),
    ]
    rollout = RolloutStatus(
        id="1a2b3c4d",
        candidate=name,
        incumbent=ALWAYS_STRONG,
        started_at=moment_of(began),
        steps=entries,
    )
    n = int(per_second * HOUR / 4)
    share = max(n // 100, 10)
    windows = [Window(1, began + HOUR / 4 * k, Tally(n * 9 // 10, n), Tally()) for k in range(2)]
    both = Tally(n * 9 // 10, n), Tally(share * 9 // 10, share)
    windows += [Window(2, began + HOUR / 4 * k, *both) for k in range(2, 4)]
    half = Tally(n * 9 // 20, n // 2)
    rubrics = (RUBRIC, *GUARDS)
    evidence = Evidence(
        at_s=began + HOUR,
        scored_until_s=began + HOUR,
        canary={StreamKey(rubric): tuple(windows) for rubric in rubrics},
        halves={StreamKey(rubric): tuple(HalfWindow(half, half) for _ in range(40)) for rubric in rubrics},
    )
    return Observation(
        policy=made.model_copy(update={"status": RoutingPolicyStatus(rollout=rollout)}),
        desired=name,
        kept=(Kept(name, "uid", "2026-11-22T11:00:00Z", revision_spec(made)),),
        strays=(),
        classifier=None,
        stable_classifier=None,
        programmed=Programmed(ProgrammedReason.ACKNOWLEDGED),
        evidence=evidence,
    )


def looked(o: Observation) -> RoutingPolicyStatus:
    """Return the status after a look."""
    now = datetime.fromtimestamp(o.evidence.at_s, tz=UTC)
    return next_status(o, decide(o, now), now)


def test_a_day_s_wait_is_a_warning_that_names_what_would_fit() -> None:
    """At one answer in ten seconds from 1 %, promotion takes over a day; a larger first step would not."""
    o = canary(0.1)
    status = looked(o)
    assert status.step is not None
    assert 24 < float(status.step.expected_hours or 0) < 48
    assert "a first step of" in status.step.advice
    assert "would fit in 24" in status.step.advice
    told = [event for event in announcements(o.status, status) if event.reason == "SlowRollout"]
    assert [event.kind for event in told] == ["Warning"]
    again = replace(o, policy=o.policy.model_copy(update={"status": status}))
    assert "SlowRollout" not in {event.reason for event in announcements(status, looked(again))}


def test_hours_fall_as_traffic_grows() -> None:
    """Three times the traffic: fewer hours, and no warning."""
    slow, fast = looked(canary(0.3)).step, looked(canary(1.0)).step
    assert slow is not None
    assert fast is not None
    assert 0 < 2 * float(fast.expected_hours or 0) < float(slow.expected_hours or 0)
    assert fast.advice == ""


def test_what_is_missing_is_told_in_answers_and_minutes() -> None:
    """The step says how many more of the candidate's answers the next weight needs, and how long it takes."""
    step = looked(canary(1.0)).step
    assert step is not None
    assert step.samples_needed is not None
    assert step.minutes_needed is not None
    assert 10 < step.samples_needed < 500
    # one answer in a hundred seconds is the candidate's
    assert abs(step.minutes_needed - step.samples_needed * 100 / 60) < 0.2 * step.minutes_needed + 2


def test_the_step_is_shown_for_people() -> None:
    """Position, weight, and the stream that holds it with its interval and margin."""
    step = looked(canary(1.0)).step
    assert step is not None
    assert step.display == "Canary 1/4 · 1 %"
    assert "must be proven below 10.0 for 5 %" in step.because
