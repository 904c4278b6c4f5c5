"""Git is never fought: what Argo CD applied is what it finds, at every version that a rollout leaves.

A real operator drives the rollouts, a real API server keeps the objects. Argo CD stands in as its two ways
to apply (server-side, and client-side with the annotation that holds what was applied) and as its buttons:
the Lua makes the RolloutAction, and the user that its server is creates it, with the rights that
examples/04-gitops gives.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import pytest
import yaml

import gitops_kit as kit
from evidence_kit import Exporter
from gitops_scenes import served_by_envoys
from operator_kit import Cluster, Operator, eventually
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import KubeError
from pointsman.kube.resources import ACTIONS, POLICIES, Resource
from pointsman.lab.controlplane import ControlPlane
from rollout_kit import POLICY, Feeder, spec
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus]

MANAGER: Final = "argocd-controller"
SERVER: Final = "system:serviceaccount:argocd:argocd-server"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
ROLE: Final = kit.ROOT / "examples" / "04-gitops" / "argo-cd" / "actions-role.yaml"
_RBAC: Final = {
    kind: Resource("rbac.authorization.k8s.io", "v1", f"{kind.lower()}s", kind)
    for kind in ("Role", "RoleBinding")
}
Way = Literal["server-side", "client-side"]


class Git:
    """What the repository says, and Argo CD that applies it."""

    def __init__(self, cluster: Cluster, way: Way) -> None:
        self.cluster = cluster
        self.way = way
        self.wanted: dict[int, dict[str, Any]] = {}
        """What was applied, by the generation that it made."""

    async def sync(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Apply a spec as Argo CD does; return the object."""
        body: dict[str, Any] = {
            "apiVersion": POLICIES.api_version,
            "kind": POLICIES.kind,
            "metadata": {
                "name": POLICY,
                "namespace": self.cluster.namespace,
                "labels": {"app.kubernetes.io/part-of": "chat"},
                "annotations": {
                    "argocd.argoproj.io/tracking-id": f"chat:pointsman.dev/RoutingPolicy:{POLICY}"
                },
            },
            "spec": wanted,
        }
        admin = self.cluster.admin
        if self.way == "server-side":
            found = await admin.apply(POLICIES, body, manager=MANAGER)
        else:
            body["metadata"]["annotations"][LAST_APPLIED] = json.dumps(body)
            try:
                found = await admin.create(POLICIES, body, self.cluster.namespace)
            except KubeError:
                found = await admin.patch(POLICIES, POLICY, self.cluster.namespace, body)
        self.wanted[found["metadata"]["generation"]] = body
        return found

    def drift(self, live: dict[str, Any]) -> list[str]:
        """Return what differs between an object and what Git said at its generation; [] if nothing does."""
        metadata = live["metadata"]
        wanted = self.wanted[metadata["generation"]]
        pairs = {
            "spec": (live["spec"], wanted["spec"]),
            "labels": (metadata.get("labels"), wanted["metadata"]["labels"]),
            "annotations": (metadata.get("annotations"), wanted["metadata"]["annotations"]),
            "finalizers": (metadata.get("finalizers"), None),
            "ownerReferences": (metadata.get("ownerReferences"), None),
        }
        found = [f"{field}: {is_} is not {was}" for field, (is_, was) in pairs.items() if is_ != was]
        # whoever wrote the status owns nothing but the status
        others = [m for m in metadata["managedFields"] if m.get("subresource") == "status"]
        found += [
            f"{m['manager']} owns {set(m['fieldsV1'])}" for m in others if set(m["fieldsV1"]) != {"f:status"}
        ]
        mains = {m["manager"] for m in metadata["managedFields"] if m.get("subresource") != "status"}
        return found if len(mains) == 1 else [*found, f"the spec has several managers: {mains}"]


class Witness(Feeder):
    """Counts, and keeps every version of the policy that the API server tells."""

    def __init__(self, cluster: Cluster, exporter: Exporter) -> None:
        super().__init__(cluster, exporter)
        self.versions: list[dict[str, Any]] = []

    def _take(self, policy: dict[str, Any]) -> None:
        super()._take(policy)
        self.versions.append(policy)

    def steps(self) -> set[str]:
        """Return the steps that were seen."""
        return {v["status"]["step"]["name"] for v in self.versions if (v.get("status") or {}).get("step")}


@asynccontextmanager
async def argo(
    plane: ControlPlane, cluster: Cluster, exporter: Exporter
) -> AsyncIterator[tuple[Operator, Witness, KubeClient]]:
    """Run an operator, one who watches, and Argo CD's server with the rights of the example."""
    for document in yaml.safe_load_all(ROLE.read_text("utf-8")):
        document["metadata"]["namespace"] = cluster.namespace
        await cluster.admin.create(_RBAC[document["kind"]], document, cluster.namespace)
    witness = Witness(cluster, exporter)
    kubeconfig = plane.user(f"argocd-{cluster.namespace}", SERVER)
    async with (
        cluster.operator(evidence_interval_s=1.0) as operator,
        await KubeClient.open(str(kubeconfig)) as server,
    ):
        tasks = [asyncio.create_task(witness.watch()), asyncio.create_task(witness.count())]
        try:
            yield operator, witness, server
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            exporter.forget(cluster.namespace)


async def reaches(witness: Witness, name: str, state: str = "Running") -> None:
    """Wait until the rollout is in a step."""

    def there() -> bool:
        step = witness.status.get("step") or {}
        return (step.get("name"), step.get("state")) == (name, state)

    await until(there, 90, 0.05, f"{name} {state}, at {witness.status.get('step')}")


async def press(cluster: Cluster, server: KubeClient, action: str) -> dict[str, Any]:
    """Press a button in Argo CD; return what became of the word."""
    live = await cluster.policy()
    assert action in kit.enabled(live)
    made: list[dict[str, Any]] = []

    async def create() -> bool | None:
        with suppress(KubeError):  # a Role takes a moment to count
            made.append(await server.create(ACTIONS, kit.act(live, action), cluster.namespace))
            return True
        return None

    await eventually(create, f"{action} is taken", 10)

    async def done() -> dict[str, Any] | None:
        found = await cluster.admin.get(ACTIONS, made[0]["metadata"]["name"], cluster.namespace)
        return found if (found.get("status") or {}).get("effect") else None

    return await eventually(done, f"{action} is looked at", 30)


@pytest.mark.parametrize("way", ["server-side", "client-side"])
async def test_no_step_of_a_rollout_is_a_difference(
    plane: ControlPlane, cluster: Cluster, exporter: Exporter, prometheus: str, way: Way
) -> None:
    """Promoted after a button's approval, then rolled back: no version of the policy differs from Git."""
    git = Git(cluster, way)
    first, second, third = (spec("strong", prometheus, approval=["Promotion"]) for _ in range(3))
    second["strategy"] = {"type": "Pinned", "pinned": {"tier": "cheap"}}
    third["strategy"] = {"type": "Pinned", "pinned": {"tier": "cheap"}}
    third["tiers"][0]["model"] = "worse"
    await git.sync(first)
    async with argo(plane, cluster, exporter) as (operator, witness, server):
        await operator.promoted(deadline_s=60)
        await git.sync(second)
        await reaches(witness, "Promotion", "AwaitingApproval")
        waiting = await cluster.policy()
        assert kit.health(served_by_envoys(waiting))["status"] == "Suspended"
        word = await press(cluster, server, "approve")
        assert word["status"]["effect"] == "Applied"
        assert word["spec"]["requestedBy"] == SERVER
        promoted = await operator.promoted(deadline_s=60)
        applied = await git.sync(second)  # self-heal finds nothing to heal
        assert applied["metadata"]["generation"] == promoted["metadata"]["generation"]
        await git.sync(third)
        await reaches(witness, "Canary")
        witness.broken.add(witness.status["candidateRevision"])
        await reaches(witness, "RolledBack", "Done")
        live = await cluster.policy()
        found = kit.health(live)
        assert found["status"] == "Degraded"
        assert "spec in Git still names" in found["message"]
        assert kit.enabled(live) >= {"retry"}
        again = await git.sync(third)
        assert again["metadata"]["generation"] == live["metadata"]["generation"]
    assert {"Noise", "Canary", "Promotion", "Stable", "RolledBack"} <= witness.steps()
    assert [git.drift(version) for version in witness.versions if git.drift(version)] == []


async def test_argo_cd_may_say_no_more_than_its_role(
    plane: ControlPlane, cluster: Cluster, exporter: Exporter, prometheus: str
) -> None:
    """In another user's name, or of a policy in a namespace without the role, the API server refuses."""
    git = Git(cluster, "server-side")
    await git.sync(spec("strong", prometheus))
    async with argo(plane, cluster, exporter) as (operator, _, server):
        live = await operator.promoted(deadline_s=60)
        word = kit.act(live, "force-strong", {"requestedBy": "alice"})
        with pytest.raises(KubeError, match=r"spec.requestedBy: must be the user|forbidden"):
            await server.create(ACTIONS, word, cluster.namespace)
        elsewhere = kit.act(live, "force-strong")
        elsewhere["metadata"] |= {"namespace": "default", "ownerReferences": []}
        with pytest.raises(KubeError, match="forbidden"):
            await server.create(ACTIONS, elsewhere, "default")
