"""RoutingGateways on a real control plane: made, changed, scaled, told of, and gone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from infrastructure_kit import LISTENERS, System
from operator_kit import condition, eventually
from pointsman import install
from pointsman.kube.resources import (
    AUTOSCALERS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    GATEWAYS,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from pointsman.lab.cluster.controllers import Controllers, fail_pod
from pointsman.lab.kubectl import Kubectl
from wait import until

pytestmark = pytest.mark.apiserver

NAME = install.gateway_name("default")
QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
CAUSE_S = 10.0
"""Within this time a cause is in the status."""


async def replicas(system: System) -> int | None:
    """Return the number of pods that the Deployment shall have."""
    found = await system.get(DEPLOYMENTS, NAME)
    return found["spec"]["replicas"] if found else None


async def test_a_gateway_becomes_ready_with_its_envoys(system: System, moving: Controllers) -> None:
    """Applied, the Deployment's pods come, and the status says so, by figures, events and metric."""
    async with system.operator() as running:
        await system.gateway()
        found = await system.ready()
        status = found["status"]
        assert (status["replicas"], status["readyReplicas"]) == (2, 2)
        assert status["address"] == f"{NAME}.{system.namespace}.svc"
        assert [c["type"] for c in status["conditions"]] == ["Accepted", "Certified", "Available", "Ready"]
        assert running.metric("pointsman_gateway_ready", gateway="default") == 1
        await until(system.events, 10, what="an event")
        assert "Ready" in await system.events()


async def test_at_rest_nothing_is_written_and_strangers_changes_are_undone(
    system: System, moving: Controllers
) -> None:
    """Half a minute without a single write; then a hand at what is ours, and it is as before."""
    async with system.operator() as running:
        await system.gateway(replicas={"min": 1}, service={"annotations": {"a": "b"}})
        await system.ready()
        await until(lambda: not running.infrastructure.queue.busy, 10)
        await eventually(lambda: _calm(running), "no more writes", 20)
        written = len(running.client.written)
        end = time.monotonic() + 30
        await until(lambda: time.monotonic() > end, 40, 0.5)
        assert running.client.written[written:] == []
        await system.admin.patch(DEPLOYMENTS, NAME, system.namespace, {"spec": {"replicas": 3}})
        await until(lambda: _is(replicas(system), 1), 10, what="as many as the gateway says")
        stranger = {"metadata": {"annotations": {"a": "c", "theirs": "1"}}}
        await system.admin.patch(SERVICES, NAME, system.namespace, stranger)

        async def healed() -> dict[str, str] | None:
            service = await system.get(SERVICES, NAME)
            found: dict[str, str] = service["metadata"]["annotations"] if service else {}
            return found if found.get("a") == "b" else None

        assert (await eventually(healed, "our annotation is back"))["theirs"] == "1"
        await system.admin.delete(SERVICES, NAME, system.namespace)
        await until(lambda: system.get(SERVICES, NAME), 10, what="the Service is back")


async def _calm(running: Any) -> bool | None:
    """Tell whether nothing is written for seconds."""
    before = len(running.client.written)
    end = time.monotonic() + 3
    await until(lambda: time.monotonic() > end, 10, 0.2)
    return len(running.client.written) == before or None


async def _is(value: Any, wanted: Any) -> bool:
    return bool(await value == wanted)


async def test_other_listeners_are_another_service(system: System) -> None:
    """Ports come and go with the listeners; one that stays is where it was, and no pod is made anew."""
    async with system.operator():
        await system.gateway()

        async def ports() -> list[tuple[int, int]]:
            service = await system.get(SERVICES, NAME)
            return [(p["port"], p["targetPort"]) for p in service["spec"]["ports"]] if service else []

        await until(lambda: _is(ports(), [(80, 10000)]), 20, what="one port")
        await system.change(listeners=[*LISTENERS, {"name": "more", "port": 8080, "protocol": "HTTP"}])
        await until(lambda: _is(ports(), [(80, 10000), (8080, 10001)]), 20, what="two ports")
        await system.change(listeners=[{"name": "more", "port": 8080, "protocol": "HTTP"}])
        await until(lambda: _is(ports(), [(8080, 10001)]), 20, what="the second port alone")
        await system.change(listeners=[*LISTENERS, {"name": "more", "port": 81, "protocol": "HTTP"}])
        await until(lambda: _is(ports(), [(80, 10000), (81, 10001)]), 20, what="the first again")
        found = await system.get(GATEWAYS, "default")
        bound = [{"name": "http", "port": 10000}, {"name": "more", "port": 10001}]
        assert found is not None
        assert found["status"]["listeners"] == bound
        await system.change(listeners=LISTENERS, service={"type": "NodePort"})
        await until(lambda: _is(ports(), [(80, 10000)]), 20, what="one port")
        deployment = await system.get(DEPLOYMENTS, NAME)
        assert deployment is not None
        assert deployment["metadata"]["generation"] == 1
        await system.change(service=None)

        async def kind() -> str | None:
            service = await system.get(SERVICES, NAME)
            return service["spec"]["type"] if service else None

        await until(lambda: _is(kind(), "ClusterIP"), 20, what="the default type again")


async def test_the_autoscalers_number_of_pods_is_never_fought(system: System, moving: Controllers) -> None:
    """Switched on, off and on again: no pod too few at any moment, and the autoscaler's word counts."""
    async with system.operator():
        await system.gateway(replicas={"min": 3})
        await system.ready()
        fewest = 3

        async def watched(wanted: int) -> bool:
            nonlocal fewest
            found = await replicas(system) or 0
            fewest = min(fewest, found)
            return found == wanted

        await system.change(replicas={"min": 3, "max": 6})
        await until(lambda: system.get(AUTOSCALERS, NAME), 20, what="an autoscaler")
        await system.ready()
        await until(lambda: watched(3), 20, what="the number is kept")
        # an autoscaler's own way: the subresource, and another field manager
        await system.admin.patch(
            DEPLOYMENTS, NAME, system.namespace, {"spec": {"replicas": 5}}, subresource="scale"
        )
        await system.change(drain="30s")
        found = await system.ready()
        assert await watched(5) or found["status"]["replicas"] in {3, 4}  # by then it may have scaled down
        assert fewest == 3
        await system.change(replicas={"min": 4, "max": None})
        await until(lambda: watched(4), 20, what="the gateway's own number")
        assert await system.get(AUTOSCALERS, NAME) is None
        await system.change(replicas={"min": 4, "max": 8})
        await until(lambda: system.get(AUTOSCALERS, NAME), 20, what="an autoscaler again")
        await system.ready()
        assert await watched(4)
        assert fewest == 3


async def test_an_envoy_that_no_node_can_take_is_told_in_the_schedulers_words(
    system: System, moving: Controllers
) -> None:
    """Unschedulable is in the status within ten seconds, an event says it, others are not held up."""
    async with system.operator() as running:
        started = time.monotonic()
        await system.gateway("big", resources={"requests": {"cpu": "9000"}})
        found = await system.condition("Available", "Unschedulable", "big", CAUSE_S)
        assert time.monotonic() - started < CAUSE_S
        assert "Insufficient cpu" in found["message"]
        ready = condition(await system.admin.get(GATEWAYS, "big", system.namespace), "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "Unschedulable")
        await until(lambda: _has(system, "Unschedulable"), 10, what="an event")
        assert running.metric("pointsman_gateway_ready", gateway="big") == 0
        await system.gateway("default")
        await system.ready("default")


async def _has(system: System, reason: str) -> bool:
    return reason in await system.events()


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff"])
async def test_what_kubelet_says_of_a_pod_is_told(system: System, moving: Controllers, reason: str) -> None:
    """With the words of the node, while the old Envoys go on."""
    async with system.operator():
        await system.gateway()
        await system.ready()
        await system.change(image="registry.local/envoy:held")

        async def held() -> str | None:
            for pod in (await system.admin.list(PODS, system.namespace)).items:
                if pod["spec"]["containers"][0]["image"].endswith(":held"):
                    return str(pod["metadata"]["name"])
            return None

        pod = await eventually(held, "a pod of the new spec", 30)
        with Kubectl(moving.plane.kubeconfig) as kubectl:
            fail_pod(kubectl, system.namespace, pod, reason, "no such image")
        told = await system.condition("Available", reason, deadline_s=CAUSE_S)
        assert told["message"].startswith("2 of 2 Envoys serve")


async def test_a_quota_that_is_used_up_is_told(system: System, moving: Controllers) -> None:
    """No room for pods, then no room for Services: each in the API server's words."""
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1", "services": "3"}}}
    await system.admin.create(QUOTAS, quota, system.namespace)
    async with system.operator():
        await system.gateway()
        told = await system.condition("Available", "QuotaExceeded")
        assert "exceeded quota: small" in told["message"]
        await system.gateway("second")
        told = await system.condition("Accepted", "QuotaExceeded", "second")
        assert "Service " in told["message"]


async def test_a_listener_without_its_certificate_is_told_with_the_remedy(system: System) -> None:
    """SecretNotFound names the field and the command; with the Secret there it is accepted."""
    tls = {"certificateRefs": [{"name": "llm"}]}
    async with system.operator():
        await system.gateway(listeners=[{"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls}])
        told = await system.condition("Accepted", "SecretNotFound")
        assert "spec.listeners[0].tls.certificateRefs[0]" in told["message"]
        assert "create secret tls llm" in told["message"]
        data = {"tls.crt": "bm90aGluZw==", "tls.key": "bm90aGluZw=="}
        secret = {"metadata": {"name": "llm"}, "type": "kubernetes.io/tls", "data": data}
        await system.admin.create(SECRETS, secret, system.namespace)
        await system.condition("Accepted", "SecretInvalid")
        own = await until(lambda: system.secret(install.certificate_secret(NAME)), 20, what="its own Secret")
        await system.admin.patch(SECRETS, "llm", system.namespace, {"data": own["data"]})
        await system.condition("Accepted", "Accepted")


async def test_what_was_made_goes_with_the_gateway(system: System, moving: Controllers) -> None:
    """Deleted: Kubernetes collects everything that it owned."""
    async with system.operator() as running:
        await system.gateway(replicas={"min": 1, "max": 2})
        await system.ready()
        await system.clear()
        for resource in (DEPLOYMENTS, SERVICES, AUTOSCALERS, DISRUPTION_BUDGETS, PODS):
            await _gone(system, resource)
        await until(lambda: _is(system.names(SERVICE_ACCOUNTS), ["default"]), 30, what="service accounts")
        await until(lambda: _is(_gateway_secret(system), None), 30, what="its certificate")
        assert running.metric("pointsman_gateway_ready", gateway="default") is None


async def _gone(system: System, resource: Resource) -> None:
    await until(lambda: _is(system.names(resource), []), 30, what=f"no {resource.plural}")


async def _gateway_secret(system: System) -> Any:
    return await system.secret(install.certificate_secret(NAME))


async def test_a_gateway_that_is_made_anew_at_once_keeps_what_it_needs(
    system: System, moving: Controllers
) -> None:
    """Deleted and created again: what the first one leaves behind is collected, the second is complete."""
    async with system.operator():
        await system.gateway(replicas={"min": 1})
        await system.ready()
        await system.clear()
        anew = await system.gateway(replicas={"min": 1})
        for resource in (DEPLOYMENTS, SERVICES, SERVICE_ACCOUNTS, SECRETS):
            name = install.certificate_secret(NAME) if resource is SECRETS else NAME
            await until(
                lambda resource=resource, name=name: _owned(system, resource, name, anew),  # type: ignore[misc]
                30,
                what=f"{resource.plural} of the new one",
            )
        await system.ready()


async def _owned(system: System, resource: Resource, name: str, owner: dict[str, Any]) -> bool:
    """Tell whether an object is there and is that owner's."""
    found = await system.get(resource, name)
    return found is not None and [o["uid"] for o in found["metadata"].get("ownerReferences") or ()] == [
        owner["metadata"]["uid"]
    ]


async def test_a_death_after_any_write_is_finished_by_the_next(system: System, moving: Controllers) -> None:
    """Each process writes once and dies, until one finds nothing left to do."""
    await system.gateway(replicas={"min": 1, "max": 2})
    for _ in range(8):
        await system.death()
    async with system.operator():
        await system.ready()
        assert await system.get(AUTOSCALERS, NAME) is not None
