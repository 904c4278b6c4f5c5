"""The operator's clock is five minutes off those of API server, Envoy, evaluator and Prometheus."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.rollout.revisions import desired_name
from rollout_world import RUBRIC, START, Quality, World, policy

NAME = desired_name(policy())
BAD = Quality({(RUBRIC, ""): 0.4}, overall=0.4)
NO_SHADOW: dict[str, Any] = {"shadow": {"mode": "Off"}}
SKEWS = pytest.mark.parametrize("skew_s", [-300.0, 300.0])


def trying(skew_s: float, quality: Quality) -> World:
    """Return a world whose first revision is in canary."""
    world = World(policy(rollout=NO_SHADOW), {NAME: quality}, skew_s=skew_s, now_s=START + 600)
    assert world.run(lambda w: w.weight(NAME) > 0, 1200, 5.0)
    return world


@SKEWS
def test_what_is_bad_is_rolled_back_as_soon_as_with_one_clock(skew_s: float) -> None:
    """Counts decide, and no clock: it lasts one look more at most."""
    took = []
    for skew in (0.0, skew_s):
        world = trying(skew, BAD)
        began_s = world.now_s
        assert world.run(lambda w: w.weight(NAME) == 0, 120, 5.0)
        took.append(world.now_s - began_s)
    assert took[1] <= took[0] + 5.0


@SKEWS
def test_what_is_good_is_promoted(skew_s: float) -> None:
    """A weight may be held five minutes longer than its minDuration, and no weight is left out."""
    world = trying(skew_s, Quality())
    assert world.run(lambda w: w.status.stable_revision == NAME, 1200, 5.0)
    rollout = world.status.rollout
    assert rollout is not None
    weights = [step.weight_permille for step in rollout.steps if step.name == "Canary"]
    assert weights == [250, 500]


@SKEWS
def test_an_abort_that_names_the_attempt_is_heard(skew_s: float) -> None:
    """Created after the rollout began, it may bear an earlier time; the attempt says what it is about."""
    world = trying(skew_s, Quality())
    world.act("Abort", revision=NAME, attempt=1)
    world.settle()
    assert world.status.last_actions[0].effect == "Applied"
    assert world.weight(NAME) == 0


@SKEWS
def test_the_break_glass_is_heard(skew_s: float) -> None:
    """ForceStrong needs no rollout, and no clock."""
    world = trying(skew_s, Quality())
    world.act("ForceStrong")
    world.settle()
    assert world.weight("always-strong") == 1000
