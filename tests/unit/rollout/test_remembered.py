"""The cluster's state is put back to an older one: what the evaluator remembers of what came after it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pointsman.evaluator.ends import End, Place, ends, news
from pointsman.rollout.evidence import Ended, Trouble
from pointsman.rollout.revisions import desired_name
from rollout_world import RUBRIC, Quality, World, policy

if TYPE_CHECKING:
    from pointsman.api.v1alpha1 import RoutingPolicy
    from pointsman.rollout.observation import Kept

OLD = desired_name(policy())
NEW = desired_name(policy("worse"))
BAD = Quality({(RUBRIC, ""): 0.4}, overall=0.4)
NO_SHADOW: dict[str, Any] = {"shadow": {"mode": "Off"}}


@dataclass
class History:
    """A world, the evaluator's memory of it, and a snapshot of its cluster."""

    world: World
    memory: dict[Place, End] = field(default_factory=dict)
    snapshot: tuple[RoutingPolicy, dict[str, Kept]] | None = None

    def look(self) -> None:
        """Let the evaluator see the statuses as they are, and the operator what it remembers."""
        seen = list(ends(self.world.policy, cast("Any", self.world.kept.values())))
        self.memory |= news(seen, self.memory)
        self.world.ended = tuple(
            Ended(place.uid, place.revision, end.ended, end.attempt, end.outcome, end.at_us / 1e6)
            for place, end in self.memory.items()
        )

    def run(self, until: Any, limit_s: float = 400) -> None:
        """Let time pass until a condition holds, the evaluator looking on."""
        end = self.world.now_s + limit_s
        while not until(self.world):
            assert self.world.now_s < end, self.world.step
            self.world.tick(5.0)
            self.look()

    def save(self) -> None:
        """Make a snapshot of the cluster."""
        self.snapshot = deepcopy((self.world.policy, self.world.kept))

    def restore(self, later_s: float = 3600) -> None:
        """Put it back some time later. The world forgets its counts, as the evaluator does in time."""
        assert self.snapshot is not None
        self.world.policy, self.world.kept = deepcopy(self.snapshot)
        self.world.now_s += later_s
        self.world.arms.clear()


def over(world: World) -> bool:
    """Tell whether the rollout has ended."""
    rollout = world.status.rollout
    return rollout is not None and rollout.ended_at is not None


def in_canary(world: World) -> bool:
    """Tell whether the new revision has traffic."""
    return world.weight(NEW) > 0


def at_rest() -> History:
    """Return a world in which a first policy is in force."""
    world = World(policy(rollout={"mode": "Direct"} | NO_SHADOW))
    world.tick(60.0)
    assert world.status.stable_revision == OLD
    return History(world)


def tried(quality: Quality = BAD, **rollout: Any) -> History:
    """Return a world with another policy in canary, and a snapshot of that moment."""
    history = at_rest()
    history.world.qualities[NEW] = quality
    history.world.apply(policy("worse", rollout=NO_SHADOW | rollout))
    history.run(in_canary)
    history.save()
    return history


def test_what_was_rolled_back_is_out_again_at_the_first_look() -> None:
    """The very next write says so, with the same outcome as then; nobody tries it again by himself."""
    history = tried()
    history.run(over)
    history.restore()
    world = history.world
    assert world.weight(NEW) > 0
    past = len(world.history)
    world.settle()
    assert [share.revision for share in world.history[past].traffic] == [OLD]
    failed = world.status.failed_revisions[0]
    assert (failed.revision, failed.outcome) == (NEW, "RolledBack")
    assert "the evaluator remembers it" in failed.because
    world.tick(60.0)
    assert all(share.revision == OLD for status in world.history[past:] for share in status.traffic)


def test_without_counts_of_the_present_the_memory_still_holds() -> None:
    """Missing evidence holds a weight; that it failed before is known all the same."""
    history = tried()
    history.run(over)
    history.restore()
    world = history.world
    sight = world.observation()
    blind = replace(sight.evidence, trouble=Trouble.STALE)
    assert blind.ended
    world.evidence = lambda: blind  # type: ignore[method-assign]
    world.settle()
    assert world.weight(NEW) == 0


def test_a_failed_revision_that_is_applied_again_after_the_restore_gets_no_traffic() -> None:
    """The snapshot is from before it was ever tried; Git names it still, so its first attempt begins anew."""
    history = at_rest()
    history.save()
    history.world.qualities[NEW] = BAD
    history.world.apply(policy("worse", rollout=NO_SHADOW))
    history.run(over)
    history.restore()
    world = history.world
    world.apply(policy("worse", rollout=NO_SHADOW))
    past = len(world.history)
    history.run(over, 30)
    assert all(share.revision != NEW for status in world.history[past:] for share in status.traffic)
    assert world.status.failed_revisions[0].revision == NEW


def test_retry_tries_it_again_after_all() -> None:
    """Who knows better says so; then it proves itself, and the memory is of an earlier attempt."""
    history = tried()
    history.run(over)
    history.restore()
    history.run(over)
    world = history.world
    world.qualities[NEW] = Quality()
    world.act("Retry")
    world.tick()
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.attempt, rollout.ended_at) == (NEW, 2, None)
    history.run(lambda w: w.status.stable_revision == NEW)


def test_what_was_promoted_proves_itself_anew() -> None:
    """Its counts may be gone, and what came after its promotion is not known."""
    history = tried(Quality())
    history.run(lambda w: w.status.stable_revision == NEW)
    history.restore()
    world = history.world
    world.settle()
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.candidate, rollout.attempt, rollout.ended_at) == (NEW, 2, None)
    history.run(lambda w: w.status.stable_revision == NEW)


def test_a_break_glass_that_the_cluster_forgot_is_done_again() -> None:
    """All of the traffic goes to the last tier again, until Retry or another spec."""
    history = tried(Quality())
    history.run(lambda w: w.status.stable_revision == NEW)
    history.save()
    world = history.world
    world.now_s += 60
    world.act("ForceStrong")
    world.tick()
    history.look()
    assert world.status.stable_revision is None
    world.actions.clear()
    history.restore()
    assert world.status.stable_revision == NEW
    world.settle()
    assert world.status.stable_revision is None
    assert world.weight("always-strong") == 1000
    assert world.status.failed_revisions[0].outcome == "ForcedStrong"


def test_an_abort_that_the_cluster_forgot_holds() -> None:
    """What a person ended is not taken up again because its record is lost."""
    history = tried(Quality())
    history.world.act("Abort")
    history.run(over)
    history.world.actions.clear()
    history.restore()
    history.world.settle()
    assert history.world.weight(NEW) == 0
    assert history.world.status.failed_revisions[0].outcome == "Aborted"


@pytest.mark.parametrize("again", ["worse", "other"])
def test_in_a_history_without_gaps_the_memory_changes_nothing(again: str) -> None:
    """A revision failed, another came, then the first again: each is tried, as the cluster knows of all."""
    history = tried()
    history.run(over)
    world = history.world
    world.apply(policy("other", rollout=NO_SHADOW))
    history.run(lambda w: w.status.stable_revision == desired_name(policy("other")))
    world.qualities[NEW] = Quality()
    world.apply(policy(again, rollout=NO_SHADOW))
    history.run(lambda w: w.status.stable_revision == desired_name(policy(again)))
    assert not [f for f in world.status.failed_revisions if "remembers" in f.because]


def test_a_policy_of_the_same_name_has_a_memory_of_its_own() -> None:
    """Deleted and made anew, its revisions are tried: they prove themselves first anyway."""
    history = tried()
    history.run(over)
    metadata = history.world.policy.metadata.model_copy(update={"uid": "u-2"})
    fresh = World(policy("worse", rollout=NO_SHADOW), ended=history.world.ended)
    fresh.policy = fresh.policy.model_copy(update={"metadata": metadata})
    fresh.tick(5.0)
    assert fresh.status.rollout is not None
    assert fresh.status.rollout.ended_at is None
