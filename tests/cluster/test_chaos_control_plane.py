"""The kubelet dies, the API server is away, etcd is set back: traffic stays, rollouts end as they must."""

from __future__ import annotations

import time
from pathlib import Path

from chaos_kit import Ledgers, answered_once, fault, leader, traffic_for, wait_whole
from chaos_rollout_kit import SPARE, addresses_of, begin, break_tier, ended, good, on_spare, weights
from installed_kit import SYSTEM, Installed
from pointsman.lab.cluster import faults
from pointsman.lab.cluster.controllers import is_true
from pointsman.lab.cluster.layout import NODE
from wait import until_sync

AWAY_S = 60
BACK_S = 15.0
"""How soon a revision that failed is out of the traffic again, from the API server's being ready."""


def test_a_kubelet_that_dies_is_missed_by_nobody(installed: Installed) -> None:
    """Killed and started again: for a minute of requests, none fails, and no pod is restarted for it."""
    world, before = installed.world, _containers(installed)
    with fault(installed, "kubelet killed and started again") as seen:
        faults.restart_kubelet(world.cluster)
        traffic_for(installed, 60)
        until_sync(
            lambda: is_true(world.kube.get(f"/api/v1/nodes/{NODE}"), "Ready"), 60, what="node is Ready"
        )
        wait_whole(world, SYSTEM)
    assert not seen.failed, seen.failed[:3]
    assert _containers(installed) == before


def test_an_api_server_that_is_away_holds_everything_where_it_is(installed: Installed) -> None:
    """For a minute of a canary whose tier breaks meanwhile: weights stay, and then it is rolled back."""
    world = installed.world
    candidate = begin(installed, on_spare(installed, "15s"))
    before, tiers = weights(installed), addresses_of(installed, SPARE)
    with fault(installed, f"API server away for {AWAY_S} s in a canary") as seen:
        faults.stop_control_plane(world.cluster)
        traffic_for(installed, AWAY_S // 2)
        break_tier(tiers, {"status": 503})
        traffic_for(installed, AWAY_S // 2)
        met = [outcome.revision for outcome in installed.tally.outcomes[-500:]]
        ready = faults.start_control_plane(world.cluster)
        assert ended(installed, candidate) == "RolledBack"
        seen.notes["rolled back, s after it was ready"] = round(time.monotonic() - ready, 1)
        seen.notes["leader"] = leader(world)["metadata"]["name"]
    break_tier(tiers, None)
    assert not seen.failed, seen.failed[:3]
    assert before[candidate] == 500
    assert 150 < met.count(candidate) < 350, "the weights stayed while nobody could write them"
    assert weights(installed) == {revision: 1000 for revision in before if revision != candidate}


def test_an_etcd_from_yesterday_brings_no_failed_revision_back(installed: Installed, tmp_path: Path) -> None:
    """Its copy says that the canary goes on; the counts say that it failed: it is out again in no time."""
    world, copy = installed.world, tmp_path / "etcd"
    candidate = begin(installed, on_spare(installed, "20s", first_step="5m"))
    world.cluster.plane.snapshot(copy)
    tiers = addresses_of(installed, SPARE)
    break_tier(tiers, {"status": 503})
    assert ended(installed, candidate) == "RolledBack"
    break_tier(tiers, None)
    after = weights(installed)
    with fault(installed, "etcd restored from before a rollback") as seen:
        ready = faults.restore_etcd(world.cluster, copy)
        assert ended(installed, candidate, BACK_S + 60) == "RolledBack"
        seen.notes["rolled back, s after the API server was ready"] = round(time.monotonic() - ready, 1)
        traffic_for(installed, 20)
    again = [o for o in seen.outcomes if o.revision == candidate]
    out = max((outcome.sent_at for outcome in again), default=ready) - ready
    print(f"chaos: the failed revision met {len(again)} requests, the last {out:.1f} s after", flush=True)
    assert not seen.failed, seen.failed[:3]
    assert out < BACK_S
    assert weights(installed) == after
    wait_whole(world, SYSTEM)


def test_a_policy_is_promoted_after_all_that(installed: Installed) -> None:
    """Operator, xds servers and evaluator agree with the API server that came back."""
    ledgers = Ledgers(installed.world)
    candidate = begin(installed, good(installed, 866))
    assert ended(installed, candidate) == "Promoted"
    ledgers.read()
    answered_once(installed, ledgers)


def _containers(installed: Installed) -> set[tuple[str, int]]:
    found = installed.world.pods("", SYSTEM)
    statuses = [status for pod in found for status in pod["status"]["containerStatuses"]]
    return {(status["containerID"], status["restartCount"]) for status in statuses}
