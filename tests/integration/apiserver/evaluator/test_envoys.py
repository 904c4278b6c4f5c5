"""The evaluator finds the Envoys of an installation's gateways, and takes leave of those that go."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from evaluator_builders import known_policies
from evaluator_rig import Rig
from evaluator_stack import EvaluatorStack
from pointsman import install
from pointsman.clock import system_clock
from pointsman.evaluator.envoy_admin import AT_A_TIME, Losses
from pointsman.evaluator.envoys import Envoys, Target
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.kube.client import KubeClient
from pointsman.kube.resources import NAMESPACES
from pointsman.lab.controlplane import ControlPlane
from slices_kit import Slices, own_ip
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.envoy]

GONE = "pointsman_evaluator_envoys_gone_total"
POLLS = "pointsman_evaluator_envoy_polls_total"
LOST = "pointsman_access_log_lost_total"


@pytest.fixture
async def slices(plane: ControlPlane) -> AsyncIterator[tuple[str, Slices]]:
    """Return a system namespace, in which the evaluator may read EndpointSlices, and those."""
    async with await KubeClient.open(str(plane.kubeconfig)) as admin:
        name = f"system-{uuid.uuid4().hex[:8]}"
        await admin.create(NAMESPACES, {"metadata": {"name": name}})
        found = Slices(admin, name)
        await found.allow("pointsman:evaluator")
        yield name, found


def labels(gateway: str) -> dict[str, str]:
    return {install.LABEL_GATEWAY: gateway}


async def test_gateways_come_and_go(plane: ControlPlane, slices: tuple[str, Slices]) -> None:
    """Each gateway's Envoys and shadow address; the Service of its clients is not taken for it."""
    namespace, known = slices
    internal, ports = install.gateway_internal("eu"), {"stats": 9902, "shadow": 9903}
    async with await KubeClient.open(str(plane.kubeconfig_of("evaluator"))) as client:
        envoys = Envoys(client, namespace)
        running = asyncio.create_task(envoys.run())
        await asyncio.wait_for(envoys.synced.wait(), 10)
        assert (envoys.targets, envoys.shadow_urls) == ((), {})
        await known.put(internal, "a", ports, ip="10.1.0.1", labels=labels("eu"))
        await known.put(install.gateway_name("eu"), "a", {"stats": 1}, ip="10.1.0.1", labels=labels("eu"))
        await known.put(install.gateway_internal("us"), "", {}, labels=labels("us"))
        await until(lambda: len(envoys.shadow_urls) == 2)
        assert envoys.shadow_urls["eu"] == f"https://{internal}.{namespace}.svc:9903"
        assert envoys.targets == (Target("http://10.1.0.1:9902"),)
        await known.put(internal, "a", ports, ip="10.1.0.1", labels=labels("eu"), terminating=True)
        await until(lambda: envoys.targets == (Target("http://10.1.0.1:9902", terminating=True),))
        await known.drop(internal, "a")
        await until(lambda: not envoys.targets)
        assert set(envoys.shadow_urls) == {"us"}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_losses_are_counted_of_envoys_that_are_found(
    plane: ControlPlane, slices: tuple[str, Slices], tmp_path: Path
) -> None:
    """No address is named: the real Envoy is found, looked at more often while it ends, and then is gone."""
    namespace, known = slices
    settings = {
        "envoy_admin": [],
        "system_namespace": namespace,
        "kubeconfig": str(plane.kubeconfig_of("evaluator")),
        "poll_s": 4.0,
    }
    async with EvaluatorStack(tmp_path, settings=settings, admin_ip=own_ip()) as stack:
        for _ in range(5):
            assert await stack.post("/v1/good") == 200
        assert await stack.metric(LOST) == {}
        internal, ports = install.gateway_internal("default"), {"stats": stack.ports["admin"]}
        await known.put(internal, "a", ports, labels=labels("default"))

        async def nothing_lost() -> bool:
            return await stack.metric(LOST) == {(): 0.0}

        await until(nothing_lost, 15, 0.1, "the Envoy is found and has lost nothing")
        assert await stack.metric(GONE) == {}
        await known.put(internal, "a", ports, labels=labels("default"), terminating=True)
        before = await looks(stack)

        async def looked_often() -> bool:
            return await looks(stack) >= before + 3

        await until(looked_often, 8, 0.1, "it is looked at each second")
        await known.drop(internal, "a")

        async def gone() -> bool:
            return await stack.metric(GONE) == {(("last_look", "idle"),): 1.0}

        await until(gone, 10, 0.1, "it is gone")
        assert await stack.post("/v1/good") == 200
        assert (await stack.metric(POLLS)).get((("outcome", "error"),), 0) == 0


async def looks(stack: EvaluatorStack) -> float:
    return (await stack.metric(POLLS)).get((("outcome", "ok"),), 0)


async def test_many_envoys_are_looked_at_some_at_a_time(tmp_path: Path) -> None:
    """One real Envoy under many addresses: all answer, and never more are asked at once than agreed."""
    registry, rig = CollectorRegistry(), Rig(tmp_path / "rig")
    rig.folder.mkdir()
    async with EvaluatorStack(tmp_path, admin_ip="0.0.0.0") as stack, rig.writer(known_policies()) as writer:
        assert await stack.post("/v1/good") == 200
        targets = [Target(f"http://127.0.1.{n}:{stack.ports['admin']}") for n in range(1, 25)]
        losses = Losses(writer, lambda: targets, ProcessMetrics(registry), system_clock, every_s=10.0)
        running, most = asyncio.create_task(losses.run()), 0
        async with httpx.AsyncClient() as http:

            async def done() -> bool:
                nonlocal most
                query = {"filter": "^http.admin.downstream_rq_active$", "format": "json"}
                found = await http.get(f"http://127.0.0.1:{stack.ports['admin']}/stats", params=query)
                most = max(most, *(entry["value"] for entry in found.json()["stats"]), 0)
                return (registry.get_sample_value(POLLS, {"outcome": "ok"}) or 0) >= 24

            await until(done, 60, 0.05, "all were looked at")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert most <= AT_A_TIME + 2  # the test and the stack's own evaluator ask, too
        assert len(writer.ledger.states) == 1
