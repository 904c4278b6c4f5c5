"""Pointsman by Helm on a real node, under load: promoted, rolled back, upgraded, uninstalled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster_kit import World
from installed_kit import REPOSITORY, SYSTEM, Installed, condition, settle
from pointsman.lab.demo.acts import EXAMPLE, Scene
from pointsman.lab.demo.scene import NAMESPACE, POLICY
from wait import until_sync

GOOD = Scene("1-first.yaml", "better", "Promoted")
BAD = Scene("4-no-shadow.yaml", "hidden", "RolledBack")


@pytest.fixture(scope="module")
def installed(cluster: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Install both charts and the tiers; send requests for as long as the tests run."""
    found = settle(cluster, tmp_path_factory.mktemp("release"))
    found.stage.apply(EXAMPLE / GOOD.file)
    found.stage.wait_served()
    with found.traffic():
        yield found


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


def test_an_upgrade_under_load_loses_nothing_and_tries_nothing(installed: Installed) -> None:
    """Every pod of ours is replaced; no request fails, and no revision is made."""
    before, failed = _revisions(installed), installed.tally.counts().failed
    world, chart = installed.world, str(REPOSITORY / "charts" / "pointsman")
    world.helm(
        *("upgrade", "pointsman", chart, "-n", SYSTEM, "-f", str(installed.values_file)),
        *("--set", "pods.annotations.upgraded=yes", "--wait", "--timeout", "5m"),
        deadline_s=360,
    )
    assert _revisions(installed) == before
    assert installed.tally.counts().failed == failed, installed.tally.errors


def test_helm_test_passes(installed: Installed) -> None:
    """The chart's own test applies a policy and gets an answer through the gateway."""
    installed.world.helm("test", "pointsman", "-n", SYSTEM, "--timeout", "3m", deadline_s=240)


def test_uninstalling_leaves_the_traffic(installed: Installed) -> None:
    """Envoys and policies stay, and go on answering."""
    failed, seen = installed.tally.counts().failed, installed.tally.counts().requests
    installed.world.helm("uninstall", "pointsman", "-n", SYSTEM, "--wait", "--timeout", "3m", deadline_s=240)
    until_sync(lambda: installed.tally.counts().requests > seen + 200, 60, 0.2, what="200 more answers")
    assert installed.tally.counts().failed == failed, installed.tally.errors
    assert installed.stage.status()["traffic"]


def _revisions(installed: Installed) -> set[str]:
    path = f"/apis/pointsman.dev/v1alpha1/namespaces/{NAMESPACE}/routingpolicyrevisions"
    return {item["metadata"]["uid"] for item in installed.world.kube.get(path)["items"]}
