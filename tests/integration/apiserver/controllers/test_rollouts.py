"""Rollouts of an operator in this process: evidence from a real Prometheus, words of people, what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from evidence_kit import Exporter, now_s, target
from operator_kit import Cluster, Operator, condition, eventually
from pointsman.kube.resources import ACTIONS
from pointsman.lab.prometheus import Prometheus
from pointsman.rollout.moments import unix
from rollout_kit import Feeder, act, spec
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus]


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    """Return the test's own counts."""
    with Exporter() as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Prometheus that scrapes them every second."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {"evaluator": target(exporter)}) as running:
        yield running.url


@asynccontextmanager
async def rollout(
    cluster: Cluster, exporter: Exporter, url: str, **settings: Any
) -> AsyncIterator[tuple[Operator, Feeder]]:
    """Run an operator, a first revision in force, and a second one on its way."""
    feeder = Feeder(cluster, exporter)
    await cluster.apply(spec("strong", url, **settings))
    async with cluster.operator(evidence_interval_s=1.0) as operator:
        tasks = [asyncio.create_task(feeder.watch()), asyncio.create_task(feeder.count())]
        try:
            await operator.promoted()
            await cluster.change(strategy={"type": "Pinned", "pinned": {"tier": "cheap"}})
            yield operator, feeder
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            exporter.forget(cluster.namespace)


def in_step(feeder: Feeder, name: str, state: str = "Running") -> bool:
    """Tell whether the rollout is in a step."""
    step = feeder.status.get("step") or {}
    return (step.get("name"), step.get("state")) == (name, state)


def because(feeder: Feeder) -> str:
    """Return what a wait was in vain for."""
    return f"{feeder.status.get('step')}"


async def reaches(feeder: Feeder, name: str, state: str = "Running") -> None:
    """Wait until the rollout is in a step."""
    await until(lambda: in_step(feeder, name, state), 60, 0.05, f"{name} {state}")


async def effect(cluster: Cluster, name: str) -> dict[str, Any]:
    """Wait until a RolloutAction's own status says what it did; return it."""

    async def check() -> dict[str, Any] | None:
        found = (await cluster.admin.get(ACTIONS, name, cluster.namespace)).get("status") or {}
        return found if found.get("effect") else None

    return await eventually(check, f"the effect of {name}", 30)


async def test_a_bad_candidate_is_rolled_back_within_a_look(
    cluster: Cluster, exporter: Exporter, prometheus: str
) -> None:
    """From the deciding scrape to the status it takes one look and one write; the words name what failed."""
    async with rollout(cluster, exporter, prometheus) as (operator, feeder):
        await reaches(feeder, "Canary")
        feeder.broken.add(feeder.status["candidateRevision"])
        await until(lambda: in_step(feeder, "RolledBack", "Done"), 30, 0.05, "rolled back")
        status = feeder.status
        assert status["traffic"] == [{"revision": status["stableRevision"], "weightPermille": 1000}]
        assert status["rollout"]["outcome"] == "RolledBack"
        assert "answered" in status["rollout"]["because"]
        assert [f["revision"] for f in status["failedRevisions"]] == [status["rollout"]["candidate"]]
        await eventually(lambda: cluster.events("RolledBack"), "the event is posted")
        name = "pointsman_operator_evidence_age_seconds"
        assert operator.metric(f"{name}_count") > 0
        assert operator.metric(f"{name}_bucket", le="10.0") == operator.metric(f"{name}_count")
        labels = {"namespace": cluster.namespace, "policy": "support"}
        assert operator.metric("pointsman_rollout_ended_total", **labels, outcome="RolledBack") == 1
        assert operator.metric("pointsman_rollout_weight_permille", **labels) == 0


async def test_an_abort_acts_once_and_says_so(cluster: Cluster, exporter: Exporter, prometheus: str) -> None:
    """Abort takes the traffic back at once and its own status says so; a second one has no effect."""
    async with rollout(cluster, exporter, prometheus, approval=["Promotion"]) as (_, feeder):
        await reaches(feeder, "Promotion", "AwaitingApproval")
        await act(cluster, "stop", "Abort", reason="not today")
        assert (await effect(cluster, "stop"))["effect"] == "Applied"
        policy = await cluster.policy()
        assert policy["status"]["rollout"]["outcome"] == "Aborted"
        assert policy["status"]["traffic"] == [
            {"revision": policy["status"]["stableRevision"], "weightPermille": 1000}
        ]
        await act(cluster, "again", "Abort")
        second = await effect(cluster, "again")
        assert second["effect"] == "NoEffect"
        assert second["message"]
        actions = (await cluster.policy())["status"]["lastActions"]
        assert sorted((a["name"], a["effect"]) for a in actions) == [
            ("again", "NoEffect"),
            ("stop", "Applied"),
        ]


async def test_a_retry_is_another_attempt_with_counts_of_its_own(
    cluster: Cluster, exporter: Exporter, prometheus: str
) -> None:
    """A failed revision is tried again when somebody says so, and the record keeps both attempts."""
    async with rollout(cluster, exporter, prometheus) as (operator, feeder):
        await reaches(feeder, "Canary")
        failed = feeder.status["candidateRevision"]
        feeder.broken.add(failed)
        await reaches(feeder, "RolledBack", "Done")
        first = feeder.status["rollout"]["id"]
        feeder.broken.clear()
        await act(cluster, "anew", "Retry", revision=failed)
        policy = await operator.promoted(deadline_s=60)
        assert policy["status"]["rollout"]["attempt"] == 2
        assert policy["status"]["rollout"]["id"] != first

        async def recorded() -> bool | None:
            (found,) = [r for r in await cluster.revisions() if r["metadata"]["name"] == failed]
            attempts = (found.get("status") or {}).get("attempts") or []
            return [a["rollout"]["outcome"] for a in attempts] == ["Promoted", "RolledBack"] or None

        await eventually(recorded, "both attempts are on record")


async def test_without_counts_the_weight_stays_and_says_why(cluster: Cluster, tmp_path: Any) -> None:
    """While the evaluator is away nothing is decided; when it is back the rollout goes on."""
    with Exporter() as exporter, Prometheus(tmp_path, {"evaluator": target(exporter)}) as running:
        steps = [{"weightPermille": 500, "minDuration": "8s"}]
        async with rollout(cluster, exporter, running.url, canary={"steps": steps}) as (operator, feeder):
            await reaches(feeder, "Canary")
            exporter.stop()
            begun = unix(feeder.status["step"]["startedAt"])
            await operator.condition("Progressing", "EvidenceMissing", deadline_s=60)
            assert now_s() > begun + 8
            assert in_step(feeder, "Canary")
            assert feeder.status["traffic"][0]["weightPermille"] == 500
            assert condition(await cluster.policy(), "Ready")["status"] != "True"
            exporter.start()
            await operator.promoted(deadline_s=60)


async def test_what_was_stable_until_lately_returns_in_one_write(
    cluster: Cluster, exporter: Exporter, prometheus: str
) -> None:
    """A replaced revision is kept warm: naming it again puts it back at once, without a rollout."""
    async with rollout(cluster, exporter, prometheus) as (operator, feeder):
        old = (await cluster.policy())["status"]["stableRevision"]
        await operator.promoted(deadline_s=60)
        assert [w["revision"] for w in feeder.status["warm"]] == [old]
        await operator.settled()
        await cluster.change(strategy={"type": "Pinned", "pinned": {"tier": "strong"}})
        policy = await operator.promoted(deadline_s=5)
        assert policy["status"]["stableRevision"] == old
        assert feeder.history[-1] == ((old, 1000),)
