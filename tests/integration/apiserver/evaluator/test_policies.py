"""The evaluator and a real API server: it follows policies by reading alone, and runs as a command."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from evaluator_builders import policy_object, revision_object
from pointsman.evaluator.policies import Policies, follow
from pointsman.evaluator.prices import tier_price
from pointsman.kube.client import KubeClient
from pointsman.kube.resources import NAMESPACES, POLICIES, REVISIONS
from pointsman.lab.checks import http_ok
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.process import Server, Spec, free_port
from wait import until

pytestmark = pytest.mark.apiserver

TYPES = {"apiVersion": "pointsman.dev/v1alpha1"}


@pytest.fixture
async def admin(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    """Return an administrator's client; the namespace `chat` is there, and empty again afterwards."""
    async with await KubeClient.open(str(plane.kubeconfig)) as client:
        names = {item["metadata"]["name"] for item in (await client.list(NAMESPACES)).items}
        if "chat" not in names:
            await client.create(NAMESPACES, {"metadata": {"name": "chat"}})
        yield client
        for resource in (POLICIES, REVISIONS):
            for item in (await client.list(resource, "chat")).items:
                await client.delete(resource, item["metadata"]["name"], "chat")


async def test_prices_and_capture_rules_are_live(plane: ControlPlane, admin: KubeClient) -> None:
    """Creation, a change and a deletion are each known at once, with the evaluator's own rights."""
    policies = Policies()
    client = await KubeClient.open(str(plane.kubeconfig_of("evaluator")))
    task = asyncio.create_task(follow(policies, client))
    await until(policies.synced.is_set)
    await admin.create(POLICIES, TYPES | {"kind": "RoutingPolicy"} | policy_object(), "chat")
    revision = TYPES | {"kind": "RoutingPolicyRevision"} | revision_object("support-1")
    await admin.create(REVISIONS, revision, "chat")
    await until(lambda: policies.policy("chat/support") is not None)
    assert policies.retention == {}
    await until(lambda: policies.alive.get("chat/support") == frozenset({"always-strong", "support-1"}))
    known = tier_price(None, policies.revision("chat/support", "support-1"), "cheap")
    assert known is not None
    assert known.input_nano == 150_000_000
    capture = {"samplePermille": 500, "redact": ["Email"], "retention": "1h"}
    await admin.patch(POLICIES, "support", "chat", {"spec": {"evaluation": {"capture": capture}}})
    await until(lambda: policies.retention == {"chat/support": 3600})
    await admin.delete(POLICIES, "support", "chat")
    await until(lambda: policies.policy("chat/support") is None)
    assert policies.alive == {}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.close()


async def test_the_command_serves_and_stops(plane: ControlPlane, tmp_path: Path) -> None:
    """Ready once policies are listed; a second one on its store is refused; SIGTERM ends it with code 0."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    command = [
        str(Path(sys.executable).with_name("pointsman")),
        "evaluator",
        *("--kubeconfig", str(plane.kubeconfig_of("evaluator"))),
        *("--access-log-address", addresses[0], "--capture-address", addresses[1]),
        *("--http-address", addresses[2], "--store", str(tmp_path / "requests.sqlite")),
    ]
    spec = Spec(
        "evaluator", command, tmp_path / "log", addresses[2], lambda: http_ok(addresses[2], "/readyz")
    )
    async with Server(spec) as server:
        async with httpx.AsyncClient(base_url=f"http://{addresses[2]}", trust_env=False) as client:
            text = (await client.get("/metrics")).text
            assert "pointsman_access_log_entries_total 0.0" in text
            assert "pointsman_kube_requests_total" in text
            assert "_created" not in text
        second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert second.returncode != 0
        assert "another evaluator has it" in second.stderr
        assert server.child is not None
        assert await asyncio.to_thread(server.child.stop) == 0
