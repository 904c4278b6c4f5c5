"""What people and machines are told of a rollout: events, measures, verdicts, what is wanted loaded."""

from __future__ import annotations

from dataclasses import replace

from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.evidence import ArmCoverage
from pointsman.rollout.judged import Judged, verdict_statuses
from pointsman.rollout.measures import GAUGES, ended, gauges
from pointsman.rollout.observation import Artifact, Classifier, Phase, Replica, Source
from pointsman.rollout.progress import look_at
from pointsman.rollout.revisions import desired_name
from pointsman.rollout.wants import wants
from rollout_world import RUBRIC, Quality, World, policy

NAME = desired_name(policy())
NO_SHADOW = {"shadow": {"mode": "Off"}}


def in_canary(**changes: Quality) -> World:
    """Return a world in its first weight."""
    world = World(policy(rollout=NO_SHADOW), {NAME: changes.get("candidate", Quality())})
    assert world.run(lambda w: w.step == "Canary Running", 100, 5.0)
    return world


def judged(**changes: object) -> Judged:
    """Return the verdict of one stream."""
    base = Judged(
        stage="Canary",
        rubric=RUBRIC,
        intent="law",
        incumbent=890,
        candidate=98,
        drop=0.152,
        low=0.1101,
        high=0.1939,
        fail_beyond=0.01,
        pass_within=0.03,
        verdict="Undecided",
        because="",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_measures_follow_the_status() -> None:
    """Weight, step and answers while it runs; nothing of the candidate once it has ended."""
    world = in_canary()
    world.tick(5.0)
    found = gauges(world.status)
    assert found.keys() == GAUGES.keys()
    assert found["pointsman_rollout_weight_permille"] == 250
    assert found["pointsman_rollout_samples"] > 0
    before = world.status
    world.act("Abort")
    world.settle()
    assert gauges(world.status)["pointsman_rollout_weight_permille"] == 0
    assert ended(before, world.status) == ("Aborted",)
    assert ended(world.status, world.status) == ()


def test_a_rollout_superseded_in_the_same_write_is_counted() -> None:
    """The old one ended, though the status names the new one only."""
    world = in_canary()
    before = world.status
    world.apply(policy("better", rollout=NO_SHADOW))
    for _ in range(2):
        world.reconcile()
    found = [ended(old, new) for old, new in zip([before, *world.history], world.history, strict=False)]
    assert ("Superseded",) in found


def test_a_rollback_is_a_warning_with_numbers() -> None:
    """The event says what failed, by how much, of how many answers, and who serves."""
    world = in_canary()
    world.qualities[NAME] = Quality(overall=0.2)
    assert world.run(lambda w: w.step.startswith("RolledBack"), 60, 5.0)
    told = [event for event in world.told if event.reason == "RolledBack"]
    assert [event.kind for event in told] == ["Warning"]
    assert f"{NAME}: correct: drop " in told[0].note
    assert "fails beyond 4.0" in told[0].note
    assert told[0].note.endswith(f"{ALWAYS_STRONG} serves")


def test_the_worst_verdict_comes_first() -> None:
    """What failed most clearly, then what cannot be judged, then what is farthest from passing."""
    found = verdict_statuses(
        [
            judged(rubric="passed", verdict="Pass", high=0.01),
            judged(rubric="near", high=0.04),
            judged(rubric="far", high=0.2),
            judged(rubric="blind", verdict="Error"),
            judged(rubric="failed", verdict="Fail", log_e=7.0),
            judged(rubric="failed-clearly", verdict="Fail", log_e=9.0),
        ]
    )
    assert [v.rubric for v in found] == ["failed-clearly", "failed", "blind", "far", "near", "passed"]


def test_bounds_are_rounded_to_the_careful_side() -> None:
    """A drop is never shown as better known than it is; at most twenty are shown."""
    first = verdict_statuses([judged()] * 30)
    assert len(first) == 20
    assert (first[0].drop_permille, first[0].low_permille, first[0].high_permille) == (152, 110, 194)


def test_arms_that_are_scored_unequally_are_not_compared() -> None:
    """Where one arm's answers go unscored more often, a good rate is no evidence."""
    world = in_canary()
    for _ in range(6):
        world._serve(5.0)
        world.now_s += 5.0
    o, rollout = world.observation(), world.status.rollout
    assert rollout is not None
    coverage = {(RUBRIC, "incumbent"): ArmCoverage(980, 20), (RUBRIC, "candidate"): ArmCoverage(600, 400)}
    lopsided = replace(o, evidence=replace(o.evidence, coverage=coverage))
    now = world.at
    found = {one.rubric: one for one in look_at(lopsided, rollout, now).judged}
    assert found[RUBRIC].verdict == "Error"
    assert "60% of the candidate's answers are scored, 98% of the incumbent's" in found[RUBRIC].because


def test_what_is_warm_stays_loaded_and_what_failed_does_not() -> None:
    """Warm revisions are wanted as they are; a barred one is loaded by nobody."""
    world = in_canary()
    ready = (Replica("http://t:8000", Phase.READY),)
    mine = Classifier(Source("chat", "configmap://b", "b" * 64), Artifact(), ready)
    warm = Classifier(Source("chat", "configmap://w", "c" * 64), Artifact(), ready)
    live = replace(world.observation(), classifier=mine, warm_classifiers=(warm,))
    # the candidate too, before its bundle is fetched again after a restart
    assert {want.source.sha256[0] for want in wants(live)} == {"b", "c"}
    world.act("Abort")
    world.settle()
    barred = replace(world.observation(), classifier=mine, warm_classifiers=(warm,))
    assert {want.source.sha256[0] for want in wants(barred)} == {"c"}
