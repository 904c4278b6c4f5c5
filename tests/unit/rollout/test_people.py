"""RolloutActions: each is looked at once, and a stale one does nothing and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pointsman.api.v1alpha1.rollout_action import RolloutActionSpec
from pointsman.api.v1alpha1.status import AppliedAction
from pointsman.rollout.observation import SeenAction
from pointsman.rollout.people import REMEMBERED, pending
from pointsman.rollout.revisions import desired_name
from rollout_world import World, policy

NAME = desired_name(policy())


def running() -> World:
    """Return a world whose rollout measures noise."""
    world = World(policy())
    world.tick(5.0)
    assert world.step == "Noise Running"
    return world


def seen(uid: str, created: str, **changes: Any) -> SeenAction:
    """Return an action as the operator sees it."""
    body = {"policyRef": {"name": "support"}, "action": "Abort", "requestedBy": "alice"}
    return replace(SeenAction(uid, uid, created, RolloutActionSpec.model_validate(body)), **changes)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({"revision": "support-ffffffffff"}, "revision is support-ffffffffff", id="revision"),
        pytest.param({"attempt": 7}, "attempt is 7, the present one is 1", id="attempt"),
        pytest.param({"step": "Shadow"}, "step is Shadow, the rollout is at Noise", id="step"),
    ],
)
def test_a_stale_action_does_nothing_and_says_why(spec: dict[str, Any], words: str) -> None:
    """What it names must still be so."""
    world = running()
    world.act("Abort", **spec)
    world.tick()
    done = world.status.last_actions[0]
    assert done.effect == "NoEffect"
    assert words in done.message
    assert world.step == "Noise Running"


def test_an_action_older_than_the_rollout_does_nothing() -> None:
    """It was about an earlier one."""
    world = running()
    world.actions.append(seen("early", "2026-11-22T11:30:00Z"))
    world.tick()
    assert world.status.last_actions[0].effect == "NoEffect"
    assert "older than" in world.status.last_actions[0].message


def test_an_action_of_an_earlier_policy_of_the_name_does_nothing() -> None:
    """Deleted and created again, a policy hears none of the old words."""
    world = running()
    world.actions.append(seen("ancient", "2026-11-20T11:30:00Z", spec=force()))
    world.tick()
    assert "older than the policy" in world.status.last_actions[0].message
    assert world.status.last_actions[0].effect == "NoEffect"


def force() -> RolloutActionSpec:
    """Return what ForceStrong says."""
    body = {"policyRef": {"name": "support"}, "action": "ForceStrong", "requestedBy": "alice"}
    return RolloutActionSpec.model_validate(body)


def test_approval_of_what_does_not_wait_has_no_effect() -> None:
    """An approval in advance is none: the evidence was not there to be looked at."""
    world = running()
    world.act("Approve", revision=NAME, step="Noise")
    world.tick()
    assert world.status.last_actions[0].message.startswith("nothing waits for approval: Noise")


def test_an_effect_and_its_uid_are_one_write() -> None:
    """The write that rolls back names the action; no other write does."""
    world = running()
    uid = world.act("Abort")
    world.settle()
    first = next(past for past in world.history if uid in {a.uid for a in past.last_actions})
    assert first.rollout is not None
    assert first.rollout.outcome == "Aborted"
    assert [a.uid for a in world.status.last_actions] == [uid]


def test_each_is_looked_at_once() -> None:
    """Named in the status, settled by its own status, or older than the oldest of a full list: not again."""
    world = running()
    now = "2026-11-22T12:00:01Z"
    done = [
        AppliedAction(
            uid=f"u-{n:02d}",
            name="x",
            action="Abort",
            effect="NoEffect",
            created_at=f"2026-11-22T12:00:{n + 2:02d}Z",
            at=now,
        )
        for n in range(REMEMBERED)
    ]
    full = world.policy.status.model_copy(update={"last_actions": done})
    o = replace(world.observation(), policy=world.policy.model_copy(update={"status": full}))
    known = seen("u-03", "2026-11-22T12:00:05Z")
    assert pending(replace(o, actions=(known,))) is None
    assert pending(replace(o, actions=(seen("old", now),))) is None
    assert pending(replace(o, actions=(seen("new", "2026-11-22T12:00:30Z", settled=True),))) is None
    new, later = seen("new", "2026-11-22T12:00:30Z"), seen("later", "2026-11-22T12:00:31Z")
    assert pending(replace(o, actions=(later, known, new))) == new


def test_the_list_of_actions_is_bounded() -> None:
    """Newest first, ten at most."""
    world = running()
    for _ in range(REMEMBERED + 3):
        world.act("Approve", revision=NAME, step="Noise")
        world.tick(1.0)
    found = world.status.last_actions
    assert len(found) == REMEMBERED
    created = [datetime.fromisoformat(action.created_at).astimezone(UTC) for action in found]
    assert created == sorted(created, reverse=True)
