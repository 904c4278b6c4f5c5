"""The release is upgraded, tested and uninstalled under load: after all that has happened to it."""

from __future__ import annotations

from installed_kit import REPOSITORY, SYSTEM, Installed
from pointsman.lab.demo.scene import NAMESPACE
from wait import until_sync


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
