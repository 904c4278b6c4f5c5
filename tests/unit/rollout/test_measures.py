"""What the operator's metrics say of a status: states, verdicts, and for how long."""

from __future__ import annotations

from pointsman.rollout.measures import (
    BOUND,
    INFO,
    KEPT_S,
    SAMPLES,
    UNREADY,
    Sample,
    states,
    verdicts,
    verdicts_until,
)
from pointsman.rollout.moments import unix
from pointsman.rollout.revisions import desired_name
from rollout_world import RUBRIC, Quality, World, policy

NAME = desired_name(policy())
NO_SHADOW = {"shadow": {"mode": "Off"}}


def in_canary() -> World:
    """Return a world in its first weight, with verdicts."""
    world = World(policy(rollout=NO_SHADOW), {NAME: Quality()})
    assert world.run(lambda w: w.step == "Canary Running" and bool(w.status.verdicts), 100, 5.0)
    return world


def rolled_back() -> World:
    """Return a world whose candidate was proven worse."""
    world = in_canary()
    world.qualities[NAME] = Quality(overall=0.2)
    assert world.run(lambda w: w.step.startswith("RolledBack"), 60, 5.0)
    return world


def of(world: World, family: object) -> list[Sample]:
    """Return a status' samples of one family."""
    return [s for s in (*states(world.status), *verdicts(world.status)) if s.family is family]


def test_a_live_rollout_is_one_series() -> None:
    """Who serves, who is tried, in which step, and nothing refused yet."""
    world = in_canary()
    assert world.status.rollout is not None
    (info,) = of(world, INFO)
    assert info.labels == ("always-strong", world.status.rollout.id, NAME, "Canary", "Running", "")


def test_what_was_refused_is_named_until_something_new_begins() -> None:
    """An alert can say which revision failed and how, for as long as the spec asks for it."""
    (info,) = of(rolled_back(), INFO)
    assert info.labels[2:] == (NAME, "RolledBack", "Done", "RolledBack")


def test_forced_strong_without_a_rollout_says_so() -> None:
    """The outcome is that of what was refused last, not of the last rollout."""
    world = World(policy(rollout={"mode": "Direct"}), {NAME: Quality()})
    assert world.run(lambda w: w.status.stable_revision == NAME, 20, 5.0)
    world.act("ForceStrong")
    world.settle()
    (info,) = of(world, INFO)
    assert info.labels[3:] == ("RolledBack", "Done", "ForcedStrong")


def test_only_conditions_that_are_not_true_are_told() -> None:
    """A healthy policy has none; a refused one names the condition and its reason."""
    world = World(policy(rollout={"mode": "Direct"}), {NAME: Quality()})
    assert world.run(lambda w: w.status.stable_revision == NAME, 20, 5.0)
    assert {sample.labels[0] for sample in of(world, UNREADY)} <= {"Programmed"}  # no Envoy in this world
    found = {sample.labels for sample in of(rolled_back(), UNREADY)}
    assert ("Progressing", "False", "RolledBack") in found


def test_intervals_stand_beside_their_margins() -> None:
    """Each verdict has five bounds and two counts of answers."""
    world = in_canary()
    first = next(v for v in world.status.verdicts if v.rubric == RUBRIC and not v.intent)
    bounds = {s.labels[-1]: s.value for s in of(world, BOUND) if s.labels[1:4] == (first.stage, RUBRIC, "")}
    assert bounds == {
        "drop": first.drop_permille,
        "low": first.low_permille,
        "high": first.high_permille,
        "fail_beyond": first.fail_beyond_permille,
        "pass_within": first.pass_within_permille,
    }
    answers = {
        s.labels[-1]: s.value for s in of(world, SAMPLES) if s.labels[1:4] == (first.stage, RUBRIC, "")
    }
    assert answers == {"incumbent": first.incumbent, "candidate": first.candidate}


def test_verdicts_are_bounded() -> None:
    """As many as the status holds, each once, whatever it says twice."""
    world = in_canary()
    twice = world.status.model_copy(update={"verdicts": [*world.status.verdicts, *world.status.verdicts]})
    assert list(verdicts(twice)) == list(verdicts(world.status))


def test_the_verdict_that_decided_can_still_be_seen() -> None:
    """It comes with the rollout's end, and goes a quarter of an hour later."""
    assert verdicts_until(in_canary().status) == float("inf")
    over = rolled_back().status
    assert over.rollout is not None
    assert over.rollout.ended_at is not None
    assert verdicts_until(over) == unix(over.rollout.ended_at) + KEPT_S
    assert verdicts_until(over.model_copy(update={"rollout": None})) == 0
