"""The manifests themselves: a real API server takes each, knows every field, and leaves nothing to drift."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from infrastructure_kit import System
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.controllers.objects import MADE
from pointsman.gateways.installation import Installation
from pointsman.gateways.manifests import manifests
from pointsman.kube.client import KubeClient
from pointsman.kube.resources import DEPLOYMENTS, PODS, SERVICE_ACCOUNTS, Resource
from pointsman.lab.controlplane import REPOSITORY, ControlPlane
from pointsman.workloads.applied import drifted, stamped

pytestmark = pytest.mark.apiserver

CASES: dict[str, dict[str, Any]] = {
    path.parent.name: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((REPOSITORY / "tests" / "unit" / "gateways" / "golden").glob("*/in.yaml"))
}


class Strict(KubeClient):
    """The real client, which has the API server refuse what it does not know."""

    async def _call(self, *args: Any, **more: Any) -> Any:
        query = dict(more.pop("query", None) or {})
        if args[1] in {"apply", "create"}:
            query["fieldValidation"] = "Strict"
        return await super()._call(*args, query=query, **more)


async def wanted_of(case: str, system: System) -> list[dict[str, Any]]:
    """Return the manifests of a case; its gateway is there, or they would be collected at once."""
    made = await system.gateway(case, **CASES[case]["spec"])
    return manifests(RoutingGateway.model_validate(made), Installation(system.namespace, "a:1", "b:1"))


@pytest.mark.parametrize("case", CASES)
async def test_every_manifest_is_taken_and_is_then_as_wanted(
    case: str, system: System, plane: ControlPlane
) -> None:
    """Server-side apply with strict validation; what the server then holds does not differ from it."""
    async with await Strict.open(str(plane.kubeconfig)) as strict:
        for manifest in await wanted_of(case, system):
            resource = _resource(manifest["kind"])
            await strict.apply(resource, stamped(manifest))
            live = await strict.get(resource, manifest["metadata"]["name"], system.namespace)
            assert drifted(live, stamped(manifest)) is None


async def test_the_pods_pass_the_level_restricted(system: System, plane: ControlPlane) -> None:
    """A pod of the template is let into a namespace that enforces it."""
    wanted = await wanted_of("smallest", system)
    account = next(m for m in wanted if m["kind"] == SERVICE_ACCOUNTS.kind)
    template = next(m for m in wanted if m["kind"] == DEPLOYMENTS.kind)["spec"]["template"]
    async with await Strict.open(str(plane.kubeconfig)) as strict:
        await strict.apply(SERVICE_ACCOUNTS, account)
        pod = {**template, "metadata": {**template["metadata"], "name": "probe"}}
        made = await strict.create(PODS, pod, system.namespace)
    assert made["metadata"]["name"] == "probe"


def _resource(kind: str) -> Resource:
    return next(resource for resource in MADE if resource.kind == kind)
