"""xds and evaluator without a single cluster-wide right: the chart's `rbac.namespaces`."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from evaluator_builders import policy_object
from pointsman.evaluator.policies import Policies, follow
from pointsman.kube.client import KubeClient
from pointsman.lab.checks import http_ok
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LOCALHOST, Server, Spec, free_port
from wait import until, until_sync

pytestmark = pytest.mark.apiserver

RBAC = "rbac.authorization.k8s.io"
KEY = "{}/support"


@pytest.fixture
def served(plane: ControlPlane) -> Iterator[tuple[Path, tuple[str, str], str]]:
    """Return (kubeconfig of who may read two namespaces, these, a third one); each has a policy."""
    mark = uuid.uuid4().hex[:8]
    ours, other = (f"a-{mark}", f"b-{mark}"), f"c-{mark}"
    user = f"reader-{mark}"
    policy = policy_object()
    with Kubectl(plane.kubeconfig) as kubectl:
        for name in (*ours, other):
            kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
            metadata = policy["metadata"] | {"namespace": name}
            body = {"apiVersion": "pointsman.dev/v1alpha1", "kind": "RoutingPolicy"}
            # hosts are the cluster's: those of one namespace are no business of the others
            match = {"hostnames": [f"{name}.example.com"], "models": ["auto"]}
            clean = {key: metadata[key] for key in ("name", "namespace")}
            kubectl.apply([body | {"metadata": clean, "spec": policy["spec"] | {"match": match}}])
        for name in ours:
            kubectl.apply(_rights(name, user))
        yield plane.user(user, user), ours, other
        for name in (*ours, other):
            kubectl.delete({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def _rights(namespace: str, user: str) -> list[dict[str, object]]:
    """Return a Role to read policies and revisions, bound to the user."""
    metadata = {"name": user, "namespace": namespace}
    rule = {
        "apiGroups": ["pointsman.dev"],
        "resources": ["routingpolicies", "routingpolicyrevisions"],
        "verbs": ["get", "list", "watch"],
    }
    version = f"{RBAC}/v1"
    return [
        {"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
        },
    ]


async def test_the_evaluator_follows_the_namespaces_that_it_is_told(
    served: tuple[Path, tuple[str, str], str],
) -> None:
    """Policies of both are known, and it never asked for more than it may."""
    kubeconfig, ours, other = served
    policies = Policies()
    async with await KubeClient.open(str(kubeconfig)) as client:
        task = asyncio.create_task(follow(policies, client, ours))
        try:
            await until(policies.synced.is_set)
            assert {KEY.format(name) for name in ours} <= set(policies.keys)
            assert KEY.format(other) not in policies.keys
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_the_xds_server_serves_the_namespaces_that_it_is_told(
    served: tuple[Path, tuple[str, str], str], tmp_path: Path
) -> None:
    """It becomes ready, and the state tells of the policies of both, and of no other."""
    kubeconfig, ours, other = served
    address = f"{LOCALHOST}:{free_port()}"
    command = [sys.executable, "-m", "pointsman", "xds", "--kubeconfig", str(kubeconfig)]
    command += ["--grpc-address", f"{LOCALHOST}:{free_port()}", "--http-address", address]
    command += ["--entry-address", f"{LOCALHOST}:{free_port()}"]
    command += [f"--namespace={name}" for name in ours]
    log = tmp_path / "xds.log"
    server = Server(Spec("xds", command, log, address, lambda: http_ok(address, "/readyz")))
    server.start()
    try:
        until_sync(lambda: http_ok(address, "/readyz"), deadline_s=30, what="xds is ready")
        gateways = httpx.get(f"http://{address}/v1/state").json()["gateways"]
        found = {key for gateway in gateways.values() for key in gateway["policies"]}
        assert found == {KEY.format(name) for name in ours}, other
    finally:
        server.stop()
