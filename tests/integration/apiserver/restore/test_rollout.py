"""A rollout that ended after the snapshot: the next leader finds it under way, and there are no counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from evidence_kit import Exporter, target
from operator_kit import Cluster, Operator, fresh
from pointsman.api.v1alpha1 import RoutingPolicy
from pointsman.evaluator.ends import ends, series_of_end
from pointsman.evaluator.evidence import EVIDENCE, Evidence
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.prometheus import Prometheus
from rollout_kit import Feeder, spec
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus, pytest.mark.timeout(900)]

STEPS = {"steps": [{"weightPermille": 500, "minDuration": "1h"}]}
PATIENT_S = 180.0


async def remember(cluster: Cluster, exporter: Exporter) -> None:
    """Keep what the status says of ends, as the evaluator does."""
    policy = RoutingPolicy.model_validate(await cluster.policy())
    for place, end in ends(policy, ()):
        series = series_of_end(place, end)
        labels = dict(zip(EVIDENCE[Evidence.ENDED].labels, series.labels, strict=True))
        exporter.add(Evidence.ENDED, end.at_us / 1e6, **labels)


@asynccontextmanager
async def followed(cluster: Cluster, exporter: Exporter) -> AsyncIterator[Feeder]:
    """Count and follow the policy."""
    feeder = Feeder(cluster, exporter)
    tasks = [asyncio.create_task(feeder.watch()), asyncio.create_task(feeder.count())]
    try:
        yield feeder
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def status_of(cluster: Cluster) -> dict[str, Any]:
    """Return the policy's status."""
    return dict((await cluster.policy()).get("status") or {})


async def version_of(cluster: Cluster) -> str:
    """Return the policy's resourceVersion."""
    return str((await cluster.policy())["metadata"]["resourceVersion"])


def seen(operator: Operator) -> float:
    """Return how often Prometheus was looked at."""
    return operator.metric("pointsman_operator_evidence_looks_total", outcome="ok")


async def test_a_failed_candidate_is_out_again_without_a_count(plane: ControlPlane, tmp_path: Path) -> None:
    """In canary by the restored status: it ends as it had ended, and nothing more is written at rest."""
    async with fresh(plane.kubeconfig, plane.kubeconfig_of("operator")) as cluster:
        with Exporter() as exporter, Prometheus(tmp_path, {"evaluator": target(exporter)}) as prometheus:
            await cluster.apply(spec("strong", prometheus.url, canary=STEPS))
            async with followed(cluster, exporter) as feeder, cluster.operator(evidence_interval_s=1.0) as op:
                await op.promoted(deadline_s=PATIENT_S)
                await cluster.change(strategy={"type": "Pinned", "pinned": {"tier": "cheap"}})
                await until(lambda: len(feeder.history[-1]) > 1, PATIENT_S, what="in canary")
                failed = feeder.status["rollout"]["candidate"]
                await asyncio.to_thread(plane.snapshot, tmp_path / "snapshot")
                feeder.broken.add(failed)
                await until(lambda: len(feeder.history[-1]) == 1, PATIENT_S, what="rolled back")
                before = await status_of(cluster)
            exporter.forget(cluster.namespace)
            await remember(cluster, exporter)
            await asyncio.to_thread(plane.restore, tmp_path / "snapshot")
            assert failed in {share["revision"] for share in (await status_of(cluster))["traffic"]}
            async with cluster.operator(evidence_interval_s=1.0) as op:

                async def out() -> bool:
                    traffic = (await status_of(cluster))["traffic"]
                    return failed not in {share["revision"] for share in traffic}

                await until(out, PATIENT_S, what="out again")
                await op.condition("Progressing", "RolledBack", deadline_s=PATIENT_S)
                await op.settled()
                looks, version = seen(op), await version_of(cluster)
                await until(lambda: seen(op) >= looks + 1, PATIENT_S, what="another look")
                await op.settled()
                assert await version_of(cluster) == version
            after = await status_of(cluster)
        assert after["traffic"] == before["traffic"]
        assert after["rollout"]["id"] == before["rollout"]["id"]
        assert after["rollout"]["outcome"] == "RolledBack"
        assert "the evaluator remembers it" in after["failedRevisions"][0]["because"]
