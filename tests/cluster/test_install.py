"""Pointsman by Helm on a real node, under load: a policy is promoted, a worse one is rolled back."""

from __future__ import annotations

from installed_kit import FIRST, SYSTEM, Installed, condition
from pointsman.lab.demo.acts import EXAMPLE, Scene
from pointsman.lab.demo.scene import NAMESPACE, POLICY
from wait import until_sync

GOOD = Scene(FIRST, "better", "Promoted")
BAD = Scene("4-no-shadow.yaml", "hidden", "RolledBack")


def test_all_parts_are_ready(installed: Installed) -> None:
    """Gateway and pool say Ready; every pod of the namespace runs, as the profile `restricted` wants it."""
    until_sync(
        lambda: condition(installed.gateway(), "Ready") == "True", 60, 0.5, what="the gateway is Ready"
    )
    until_sync(lambda: condition(installed.pool(), "Ready") == "True", 60, 0.5, what="the pool is Ready")
    pods = installed.world.pods("", SYSTEM)
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}
    assert installed.gateway()["status"]["readyReplicas"] == 2


def test_a_policy_proves_itself_and_is_promoted(installed: Installed) -> None:
    """Gate, noise, shadow and canary pass on counts from pods; no request failed; money is saved."""
    ended = installed.follow(GOOD)
    assert (ended.outcome, ended.late) == ("Promoted", False), ended.rollout
    assert ended.during.failed == 0, installed.tally.errors
    assert ended.after.saved > 0.2


def test_a_worse_policy_is_rolled_back(installed: Installed) -> None:
    """With the shadow off the canary finds it; the last wrong decision is soon after the status write."""
    installed.stage.bring_into_force(EXAMPLE / "2-better.yaml")
    ended = installed.play(BAD)
    assert (ended.outcome, ended.late) == ("RolledBack", False), ended.rollout
    assert ended.during.failed == 0, installed.tally.errors
    assert ended.lag_ms is not None
    assert ended.lag_ms < 5000
    shown = installed.world.kubectl("get", "rp", POLICY, "-n", NAMESPACE)
    assert "RolledBack" in shown
