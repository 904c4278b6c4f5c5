"""Whole rollouts in fast motion, on drawn counts: how each ends, who served meanwhile, and what is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from pointsman.api.conditions import ProgrammedReason, find
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.decide import decide
from pointsman.rollout.evidence import GateMoments, GateProgress, StreamKey, Tally, Trouble, Window
from pointsman.rollout.moments import unix
from pointsman.rollout.question import question
from pointsman.rollout.revisions import desired_name
from rollout_world import RUBRIC, START, Quality, World, policy

FIRST = desired_name(policy())
SECOND = desired_name(policy("better"))
HIDDEN = Quality({(RUBRIC, "law"): 0.55})
"""Loses 35 points in law, 10 overall."""
INTENTS = {"law": 0.3, "math": 0.7}
NO_SHADOW = {"shadow": {"mode": "Off"}}


def over(world: World) -> bool:
    """Tell whether the rollout has ended."""
    rollout = world.status.rollout
    return rollout is not None and rollout.ended_at is not None


def at(step: str) -> Any:
    """Return the condition that the world is at a step, or at a step in a state."""
    return lambda world: world.step.startswith(step)


def stable(model: str = "cheap", **changes: Any) -> World:
    """Return a world in which a first policy is in force already."""
    world = World(policy(model, rollout={"mode": "Direct"}), **changes)
    world.tick(60.0)
    assert world.status.stable_revision == desired_name(world.policy)
    return world


def progressing(world: World) -> str:
    """Return the reason of `Progressing`."""
    found = find(world.status.conditions, "Progressing")
    assert found is not None
    return found.reason


def events(world: World) -> list[str]:
    """Return the reasons of all events so far."""
    return [event.reason for event in world.told]


def test_an_equally_good_policy_is_promoted() -> None:
    """From always-strong through noise, shadow and both weights, each entered once, to all of the traffic."""
    world = World(policy())
    assert world.run(over, 200, 5.0)
    rollout = world.status.rollout
    assert rollout is not None
    assert rollout.outcome == "Promoted"
    entered = [(step.name, step.weight_permille) for step in rollout.steps]
    steps = [("Load", 0), ("Noise", 0), ("Shadow", 0), ("Canary", 250), ("Canary", 500), ("Promotion", 1000)]
    assert entered == steps
    assert [step.index for step in rollout.steps] == list(range(6))
    assert world.weight(FIRST) == 1000
    assert (world.status.stable_revision, world.step) == (FIRST, "Stable Done")
    assert events(world)[-3:] == ["CanaryWeight", "CanaryWeight", "Promoted"]
    assert "candidate and" in rollout.because


def test_the_status_tells_the_candidates_share() -> None:
    """At every write `step.weightPermille` is what the traffic in force gives the candidate."""
    world = World(policy(rollout=NO_SHADOW))
    assert world.run(over, 300, 5.0)
    told = [past.step.weight_permille for past in world.history if past.step is not None]
    assert told == [
        sum(s.weight_permille for s in past.traffic if s.revision == FIRST)
        for past in world.history
        if past.step is not None
    ]
    assert [weight for weight in dict.fromkeys(told) if weight] == [250, 500, 1000]


def test_weights_are_held_for_their_time() -> None:
    """No weight is left before its minDuration is over, whatever the shadow has proven."""
    world = World(policy())
    assert world.run(over, 200, 5.0)
    assert world.status.rollout is not None
    started = [unix(step.started_at) for step in world.status.rollout.steps[3:]]
    assert all(later - earlier >= 15 for earlier, later in pairwise(started))


def test_hidden_damage_is_refused_in_shadow() -> None:
    """A policy that loses in one intent alone fails before it has served anybody; the incumbent goes on."""
    world = World(policy(), {FIRST: HIDDEN}, INTENTS)
    assert world.run(over, 200, 5.0)
    assert world.status.rollout is not None
    assert world.status.rollout.outcome == "ShadowFailed"
    assert world.status.rollout.because.startswith("correct in law: drop ")
    assert all(
        sum(s.weight_permille for s in past.traffic if s.revision == FIRST) == 0 for past in world.history
    )
    assert (progressing(world), world.weight(ALWAYS_STRONG)) == ("ShadowFailed", 1000)
    assert world.status.verdicts[0].verdict == "Fail"
    assert [failed.revision for failed in world.status.failed_revisions] == [FIRST]
    assert "ShadowFailed" in events(world)


def test_hidden_damage_is_rolled_back_in_canary() -> None:
    """Without a shadow the first weight finds it: one write gives everything back and says why."""
    world = World(policy(rollout=NO_SHADOW), {FIRST: HIDDEN}, INTENTS)
    assert world.run(over, 300, 5.0)
    end = next(n for n, past in enumerate(world.history) if past.rollout and past.rollout.ended_at)
    before, after = world.history[end - 1], world.history[end]
    assert [share.weight_permille for share in before.traffic] == [750, 250]
    assert [(share.revision, share.weight_permille) for share in after.traffic] == [(ALWAYS_STRONG, 1000)]
    assert after.rollout is not None
    assert (after.rollout.outcome, after.step and after.step.name) == ("RolledBack", "RolledBack")
    worst = after.verdicts[0]
    assert (worst.rubric, worst.intent, worst.stage, worst.verdict) == (RUBRIC, "law", "Canary", "Fail")
    assert worst.low_permille >= worst.fail_beyond_permille == 40
    assert after.failed_revisions[0].because == after.rollout.because == worst.because


def test_a_candidate_that_answers_nothing_is_rolled_back() -> None:
    """Of its answers none can be scored: the guard decides, the rubric is named as unscored."""
    broken = Quality({("answered", ""): 0.1}, scored=0.0)
    world = World(policy(rollout=NO_SHADOW), {FIRST: broken})
    assert world.run(over, 100, 5.0)
    assert world.status.rollout is not None
    assert world.status.rollout.because.startswith("answered: drop ")
    told = {verdict.rubric: verdict for verdict in world.status.verdicts if not verdict.intent}
    assert told[RUBRIC].verdict == "Error"
    assert "could be scored" in told[RUBRIC].because


def test_answers_that_cannot_be_scored_are_never_passed() -> None:
    """A candidate whose answers stay unscored is held and named, however long, and not promoted."""
    world = World(policy(rollout=NO_SHADOW), {FIRST: Quality(scored=0.0)})
    assert world.run(at("Canary"), 100, 5.0)
    world.run(lambda _: False, 40, 5.0)
    assert world.step == "Canary Running"
    assert world.weight(FIRST) == 250
    assert world.status.step is not None
    assert "correct: none of" in world.status.step.because


def test_no_evidence_holds_and_is_not_counted() -> None:
    """While Prometheus is away the weight stays, verdicts are errors; with it back the rollout goes on."""
    world = World(policy())
    assert world.run(at("Canary"), 100, 5.0)
    world.trouble = Trouble.UNREACHABLE
    world.tick(30.0)
    assert (progressing(world), world.weight(FIRST)) == ("EvidenceMissing", 250)
    assert {verdict.verdict for verdict in world.status.verdicts} <= {"Error"}
    world.trouble = None
    assert world.run(over, 100, 5.0)
    assert world.weight(FIRST) == 1000


def test_first_counts_are_waited_for_quietly() -> None:
    """Right after a step's begin silence is not yet told as missing evidence."""
    world = World(policy(), trouble=Trouble.NOT_YET)
    world.tick()
    assert (world.step, progressing(world)) == ("Noise Running", "MeasuringNoise")


@pytest.mark.parametrize(("then", "weight", "outcome"), [("Pause", 250, None), ("Rollback", 0, "RolledBack")])
def test_a_step_without_a_verdict_ends_at_its_deadline(then: str, weight: int, outcome: str | None) -> None:
    """Over the canary's time the weight is held, or given back, as the spec says."""
    canary = {"steps": [{"weightPermille": 250, "minDuration": "15s"}], "maxDuration": "1m"}
    world = World(policy(rollout=NO_SHADOW | {"canary": canary, "onInconclusive": then}), rate=4.0)
    assert world.run(at("Canary"), 200, 5.0)
    world.tick(70.0)
    assert world.weight(FIRST) == weight
    assert world.status.rollout is not None
    assert world.status.rollout.outcome == outcome
    if outcome is None:
        assert world.step == "Canary Inconclusive"
        assert progressing(world) == "Inconclusive"
    else:
        assert world.status.rollout.because.startswith("inconclusive: ")


def test_a_late_pass_goes_on() -> None:
    """What is inconclusive goes on looking: enough answers after the deadline still promote."""
    canary = {"steps": [{"weightPermille": 500, "minDuration": "15s"}], "maxDuration": "20s"}
    world = World(policy(rollout=NO_SHADOW | {"canary": canary}), rate=4.0)
    assert world.run(at("Canary Inconclusive"), 200, 5.0)
    world.rate = 200.0
    assert world.run(over, 200, 5.0)
    assert world.weight(FIRST) == 1000


def test_retry_gives_an_inconclusive_step_its_time_again() -> None:
    """The step runs on with a new deadline, the traffic stays."""
    world = World(
        policy(rollout={"noise": {"window": "5s", "minWindows": 8, "maxDuration": "10s"}}), rate=0.1
    )
    assert world.run(at("Noise Inconclusive"), 60, 5.0)
    world.act("Retry")
    world.tick()
    assert world.step == "Noise Running"
    assert world.status.last_actions[0].effect == "Applied"
    world.tick(11.0)
    assert world.step == "Noise Inconclusive"


def test_a_new_spec_supersedes() -> None:
    """One write ends the rollout, gives everything to the incumbent and begins the next one."""
    world = World(policy(rollout=NO_SHADOW))
    assert world.run(at("Canary"), 100, 5.0)
    first = world.status.rollout
    world.apply(policy("better", rollout=NO_SHADOW))
    world.settle()
    assert first is not None
    write = next(past for past in world.history if past.rollout is not None and past.rollout.id != first.id)
    assert [(share.revision, share.weight_permille) for share in write.traffic] == [(ALWAYS_STRONG, 1000)]
    assert write.rollout is not None
    assert (write.rollout.candidate, write.rollout.attempt) == (SECOND, 1)
    assert write.failed_revisions == []
    record = world.kept[FIRST].status.attempts[0]
    assert (record.rollout.id, record.rollout.outcome) == (first.id, "Superseded")
    assert "Superseded" in events(world)


def test_a_spec_that_returns_to_what_is_stable_ends_the_rollout() -> None:
    """All of the traffic is back in one write, and nothing has failed."""
    world = stable()
    world.apply(policy("better", rollout=NO_SHADOW))
    assert world.run(at("Canary"), 100, 5.0)
    world.apply(policy(rollout=NO_SHADOW))
    world.settle()
    assert (world.weight(FIRST), world.step, progressing(world)) == (1000, "Stable Done", "Promoted")
    assert world.status.rollout is not None
    assert world.status.rollout.outcome == "Superseded"


def test_a_replaced_revision_returns_at_once_while_it_is_warm() -> None:
    """Within keepWarm the old revision is one write away, and the one that it replaces is warm in turn."""
    world = stable()
    world.apply(policy("better", rollout={"keepWarm": "10m"}))
    assert world.run(over, 200, 5.0)
    assert [warm.revision for warm in world.status.warm] == [FIRST]
    writes = world.writes
    world.apply(policy(rollout={"keepWarm": "10m"}))
    world.settle()
    assert world.weight(FIRST) == 1000
    assert world.writes == writes + 1
    assert [warm.revision for warm in world.status.warm] == [SECOND]


def test_a_replaced_revision_cools() -> None:
    """After keepWarm it has to prove itself again."""
    world = stable()
    world.apply(policy("better", rollout={"keepWarm": "10s"}))
    assert world.run(over, 200, 5.0)
    world.tick(11.0)
    assert world.status.warm == []
    world.apply(policy())
    world.settle()
    assert world.status.rollout is not None
    assert (world.status.rollout.candidate, world.weight(SECOND)) == (FIRST, 1000)


def test_a_failed_revision_is_not_tried_again_by_itself() -> None:
    """Its spec is still applied, days pass, and nothing begins; another spec and back is a new attempt."""
    world = World(policy(), {FIRST: HIDDEN}, INTENTS)
    assert world.run(over, 200, 5.0)
    world.tick(86400.0)
    assert (world.step, progressing(world)) == ("RolledBack Done", "ShadowFailed")
    world.apply(policy("better"))
    world.settle()
    world.apply(policy())
    world.settle()
    assert world.status.rollout is not None
    assert (world.status.rollout.candidate, world.status.rollout.attempt) == (FIRST, 2)


def test_retry_tries_a_failed_revision_once_more() -> None:
    """A person's word begins the second attempt; asked again it has no effect."""
    world = World(policy(), {FIRST: HIDDEN}, INTENTS)
    assert world.run(over, 200, 5.0)
    world.act("Retry", revision=FIRST, attempt=1)
    world.act("Retry", revision=FIRST, attempt=1)
    world.settle()
    assert world.status.rollout is not None
    assert world.status.rollout.attempt == 2
    assert [action.effect for action in world.status.last_actions] == ["NoEffect", "Applied"]
    assert world.status.failed_revisions == []


def test_steps_that_need_approval_wait_for_it() -> None:
    """No traffic before the first word, no promotion before the second; both are on record."""
    world = World(policy(rollout={"approval": ["Canary", "Promotion"]}))
    assert world.run(at("Canary AwaitingApproval"), 200, 5.0)
    world.tick(300.0)
    assert (world.weight(FIRST), progressing(world)) == (0, "AwaitingApproval")
    world.act("Approve", revision=FIRST, step="Canary")
    world.tick()
    assert world.weight(FIRST) == 250
    assert world.run(at("Promotion AwaitingApproval"), 200, 5.0)
    world.tick(20.0)
    assert world.weight(FIRST) == 500
    world.act("Approve", revision=FIRST, step="Promotion", reason="looked at it")
    world.tick()
    assert world.weight(FIRST) == 1000
    record = world.kept[FIRST].status.attempts[0]
    assert [action.action for action in record.actions] == ["Approve", "Approve"]
    assert record.rollout.because.startswith("approved by alice: looked at it")
    assert events(world).count("ApprovalNeeded") == 2


def test_what_fails_while_it_waits_for_approval_is_rolled_back() -> None:
    """A late break in the last weight ends the rollout; the approval that comes then has no effect."""
    world = World(policy(rollout={"approval": ["Promotion"]}))
    assert world.run(at("Promotion AwaitingApproval"), 200, 5.0)
    world.qualities[FIRST] = Quality(overall=0.3)
    assert world.run(over, 60, 5.0)
    world.act("Approve", revision=FIRST, step="Promotion")
    world.tick()
    assert world.weight(FIRST) == 0
    assert world.status.last_actions[0].effect == "NoEffect"


def test_abort_gives_everything_back() -> None:
    """The incumbent serves, the outcome says who did it, and the revision is not tried again."""
    world = World(policy(rollout=NO_SHADOW))
    assert world.run(at("Canary"), 100, 5.0)
    world.act("Abort", reason="not today")
    world.tick()
    assert world.status.rollout is not None
    assert (world.status.rollout.outcome, world.weight(FIRST)) == ("Aborted", 0)
    assert world.status.rollout.because == "aborted by alice at 25 %: not today"
    assert progressing(world) == "Aborted"


def test_force_strong_ends_everything() -> None:
    """All of the traffic goes to the last tier, nothing is stable, and the spec alone brings nothing back."""
    world = stable()
    world.act("ForceStrong", reason="fire")
    world.tick()
    assert (world.weight(ALWAYS_STRONG), world.status.stable_revision) == (1000, None)
    assert progressing(world) == "ForcedStrong"
    world.tick(3600.0)
    assert world.weight(ALWAYS_STRONG) == 1000
    world.apply(policy())
    world.act("Retry")
    assert world.run(lambda w: w.weight(FIRST) == 1000, 200, 5.0)


def test_suspend_freezes_and_still_rolls_back() -> None:
    """Paused: the weight stays though every margin is met; what is proven bad is given back all the same."""
    world = World(policy())
    assert world.run(at("Canary"), 100, 5.0)
    world.apply(policy(suspend=True))
    world.tick(60.0)
    assert (world.step, progressing(world), world.weight(FIRST)) == ("Canary Paused", "Suspended", 250)
    world.qualities[FIRST] = Quality(overall=0.3)
    assert world.run(over, 60, 5.0)
    assert world.weight(FIRST) == 0


def test_a_pause_uses_up_no_time() -> None:
    """After a pause the step has its whole time again, and goes on."""
    canary = {"steps": [{"weightPermille": 250, "minDuration": "15s"}], "maxDuration": "1m"}
    rollout = NO_SHADOW | {"canary": canary}
    world = World(policy(rollout=rollout), rate=4.0)
    assert world.run(at("Canary"), 200, 5.0)
    world.apply(policy(rollout=rollout, suspend=True))
    world.tick(600.0)
    world.apply(policy(rollout=rollout))
    world.tick()
    assert world.step == "Canary Running"
    assert world.status.step is not None
    assert world.status.step.deadline is not None
    assert unix(world.status.step.deadline) == pytest.approx(world.now_s + 60)


def test_observe_moves_no_traffic() -> None:
    """The shadow goes on for ever and says what it would do; Progress then takes up from there."""
    world = World(policy(rollout={"mode": "Observe"}), {FIRST: HIDDEN}, INTENTS)
    assert world.run(at("Shadow"), 100, 5.0)
    world.tick(3 * 86400.0 - world.now_s + START)
    assert (world.step, progressing(world), world.weight(FIRST)) == ("Shadow Running", "Observing", 0)
    assert world.status.step is not None
    assert "would be refused" in world.status.step.because
    world.apply(policy())
    world.tick()
    assert world.status.rollout is not None
    assert world.status.rollout.outcome == "ShadowFailed"


def test_observe_in_the_middle_of_a_canary_takes_the_traffic_back() -> None:
    """The candidate serves nobody from that write on, and is shadowed."""
    world = World(policy())
    assert world.run(at("Canary"), 100, 5.0)
    world.apply(policy(rollout={"mode": "Observe"}))
    world.settle()
    assert world.weight(FIRST) == 0
    assert world.run(at("Shadow"), 100, 5.0)


def test_the_first_revision_may_be_direct() -> None:
    """first: Direct is for a policy that was never anything: the next revision proves itself."""
    world = World(policy(rollout={"first": "Direct"}))
    world.tick()
    assert world.weight(FIRST) == 1000
    world.apply(policy("better", rollout={"first": "Direct"}))
    world.tick()
    assert (world.weight(FIRST), world.step) == (1000, "Noise Running")


def test_a_lost_status_is_always_strong_and_proven_anew() -> None:
    """Nothing of the failed revision's traffic survives a lost status, nor does a promotion."""
    world = World(policy(rollout=NO_SHADOW))
    assert world.run(at("Canary"), 100, 5.0)
    world.policy = world.policy.model_copy(update={"status": type(world.status)()})
    world.reconcile()
    assert (world.weight(ALWAYS_STRONG), world.weight(FIRST)) == (1000, 0)
    assert world.step == "Load Running"


GATE = {"gate": {"dataset": {"uri": "configmap://cases", "sha256": "a" * 64}, "minCases": 50}}


def gate(n: int, worse: int) -> GateProgress:
    """Return a finished gate of n cases, `worse` of which only the incumbent passes."""
    moments = GateMoments(n=n, clusters=n, d=worse, dd=worse, D2=worse, Dn=worse, n2=n)
    return GateProgress(total=n, scored=n, failed=0, rubrics={RUBRIC: moments})


@pytest.mark.parametrize(
    ("cases", "required", "step", "outcome"),
    [
        pytest.param(gate(500, 0), True, "Noise Running", None, id="passes"),
        pytest.param(gate(500, 100), False, "RolledBack Done", "GateFailed", id="fails"),
        pytest.param(gate(60, 2), False, "Noise Running", None, id="too few, goes on"),
        pytest.param(gate(60, 2), True, "Gate Running", None, id="too few, but required"),
        pytest.param(gate(10, 0), True, "Gate Running", None, id="below minCases"),
        pytest.param(GateProgress(total=500, scored=10), False, "Gate Running", None, id="not done yet"),
    ],
)
def test_the_gate(cases: GateProgress, *, required: bool, step: str, outcome: str | None) -> None:
    """The gate's cases are judged once, when all are done."""
    evaluation = {"gate": GATE["gate"] | {"required": required}}
    world = World(policy(evaluation=evaluation), gate=cases)
    world.tick()
    assert world.status.rollout is not None
    assert (world.step, world.status.rollout.outcome) == (step, outcome)
    assert [s.name for s in world.status.rollout.steps][:2] == ["Load", "Gate"]


def test_a_gate_that_is_not_done_in_time_is_inconclusive() -> None:
    """Its own maxDuration applies."""
    evaluation = {"gate": GATE["gate"] | {"maxDuration": "30s"}}
    world = World(policy(evaluation=evaluation), gate=GateProgress(total=500, scored=10))
    world.tick()
    world.tick(31.0)
    assert world.step == "Gate Inconclusive"


def test_the_first_counts_of_a_rubric_must_come() -> None:
    """A rubric under which the incumbent is never scored is named, and holds."""
    world = World(policy(), {ALWAYS_STRONG: Quality(scored=0.0)})
    world.tick(60.0)
    assert world.step == "Noise Running"
    assert world.status.step is not None
    assert world.status.step.because.startswith("correct: 0 of 8 windows")


def test_envoys_are_waited_for() -> None:
    """A candidate whose tiers no Envoy acknowledged stays in Load; a silent xds server holds nothing up."""
    world = World(policy(), programmed=ProgrammedReason.PENDING)
    world.tick()
    assert (world.step, progressing(world)) == ("Load Running", "WaitingForEnvoy")
    world.programmed = ProgrammedReason.XDS_UNREACHABLE
    world.tick()
    assert world.step == "Noise Running"


def test_at_rest_nothing_is_written() -> None:
    """A promoted policy with traffic gets a write every ten minutes at most, and only if a number changed."""
    world = World(policy())
    assert world.run(over, 200, 5.0)
    assert world.status.savings is None
    for _ in range(14):
        world.tick(5.0)
    assert world.status.savings is not None
    assert world.status.savings.display == "29 %"
    assert world.status.noise is not None
    assert (world.status.noise.revision, world.status.noise.windows >= 8) == (FIRST, True)
    writes = world.writes
    for _ in range(10):
        world.tick(50.0)
    assert world.writes <= writes + 1


def test_numbers_are_written_every_five_seconds_at_most() -> None:
    """Between two transitions, however often the operator looks."""
    world = World(policy(rollout=NO_SHADOW), {FIRST: Quality(scored=0.0)})
    assert world.run(at("Canary"), 100, 5.0)
    world.tick()
    writes = world.writes
    for _ in range(20):
        world.tick(0.5)
    assert world.writes <= writes + 2


def test_the_record_outlives_the_policy_s_memory() -> None:
    """Each attempt is written into its own revision, newest first, with verdicts, noise and its last step."""
    world = World(policy(), {FIRST: HIDDEN}, INTENTS)
    assert world.run(over, 200, 5.0)
    world.tick()
    world.act("Retry")
    world.settle()
    assert world.run(over, 200, 5.0)
    world.tick()
    attempts = world.kept[FIRST].status.attempts
    assert [record.rollout.attempt for record in attempts] == [2, 1]
    assert attempts[0].last_step is not None
    assert attempts[0].last_step.name == "Shadow"
    assert attempts[0].verdicts[0].verdict == "Fail"
    assert attempts[0].noise is not None


def test_a_changed_rubric_is_asked_for_anew() -> None:
    """The question names the rubric's new version, so that old counts fall away."""
    before = question(policy())
    rubric = {"name": RUBRIC, "type": "Contains", "contains": {"all": ["no"]}}
    after = question(policy(evaluation={"rubrics": [rubric]}))
    assert before.versions != after.versions
    assert replace(before, versions=()) == replace(after, versions=())


def test_counts_that_cannot_be_hold() -> None:
    """More passes than answers decide nothing; the break-glass works all the same."""
    world = World(policy(rollout=NO_SHADOW))
    assert world.run(at("Canary"), 100, 5.0)
    broken = Window(2, START, Tally(9, 5), Tally(9, 5))
    o = world.observation()
    o = replace(o, evidence=replace(o.evidence, canary={StreamKey(RUBRIC): (broken,)}))
    decision = decide(o, world.at)
    assert decision.reason == "EvidenceMissing"
    assert "contradict themselves" in decision.message
    world.act("ForceStrong")
    decision = decide(replace(o, actions=world.observation().actions), world.at)
    assert decision.reason == "ForcedStrong"


def test_a_live_rollout_is_looked_at_when_something_is_due() -> None:
    """Every five seconds at least, and exactly when a weight's time or the step's is over."""
    world = World(policy(rollout=NO_SHADOW))
    assert world.run(at("Canary"), 100, 5.0)
    assert world.reconcile().requeue_after == 5.0
    world.tick(12.0)
    assert world.reconcile().requeue_after == pytest.approx(3.0)


def test_a_warm_revision_is_looked_at_when_it_cools() -> None:
    """At rest the next look is due exactly then."""
    world = stable()
    world.apply(policy("better", rollout={"mode": "Direct", "keepWarm": "10m"}))
    world.tick()
    assert world.reconcile().requeue_after == pytest.approx(600.0)
    world.tick(601.0)
    assert (world.status.warm, world.reconcile().requeue_after) == ([], None)
