"""When a candidate gets weight and loses it, as the API server tells; and when Envoy acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from bench.peers_counts import Subject
from pointsman.clock import system_clock
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import KubeError
from pointsman.kube.resources import Resource

ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"

Read = Callable[[dict[str, Any], Subject], int | None]
"""Returns the candidate's weight in an object (None: it says nothing), and notes what else is told by it."""


def of_route(route: dict[str, Any], subject: Subject) -> int:
    """Return the weight of Flagger's canary Service."""
    backends = [ref for rule in route["spec"]["rules"] for ref in rule["backendRefs"]]
    return sum(int(ref["weight"]) for ref in backends if ref["name"] == f"{subject.name}-canary")


def of_ingress(ingress: dict[str, Any], _: Subject) -> int | None:
    """Return the weight of Argo Rollouts' canary Ingress; the stable one, which nobody owns, says nothing."""
    if not ingress["metadata"].get("ownerReferences"):
        return None
    return int((ingress["metadata"].get("annotations") or {}).get(_WEIGHT, 0))


def of_policy(policy: dict[str, Any], subject: Subject) -> int:
    """Return the candidate's permille, and note which rollout, step and revision counts belong to."""
    status = policy.get("status") or {}
    subject.stable = subject.stable or str(status.get("stableRevision") or "")
    rollout = status.get("rollout") or {}
    candidate = str(rollout.get("candidate") or "")
    if not subject.stable or candidate in {"", subject.stable}:
        return 0
    if "endedAt" not in rollout:
        subject.rollout, subject.step = str(rollout["id"]), int(rollout["steps"][-1]["index"])
    shares = status.get("traffic") or ()
    return sum(int(share["weightPermille"]) for share in shares if share["revision"] == candidate)


def name_of(found: dict[str, Any]) -> str:
    """Return whose object it is: Argo Rollouts' canary Ingress belongs to its Rollout."""
    owners = found["metadata"].get("ownerReferences") or ()
    rollouts = [owner["name"] for owner in owners if owner["kind"] == "Rollout"]
    return str(rollouts[0] if rollouts else found["metadata"]["name"])


async def follow(
    client: KubeClient, resource: Resource, namespace: str, subjects: dict[str, Subject], read: Read
) -> None:
    """Note when weights come and go, until cancelled."""
    while True:
        with suppress(KubeError):
            listing = await client.list(resource, namespace)
            for item in listing.items:
                _take(item, subjects, read)
            async for event in client.watch(resource, listing.resource_version, namespace):
                if event.type != "BOOKMARK":
                    _take(event.object, subjects, read)
        await asyncio.sleep(0.1)


def _take(found: dict[str, Any], subjects: dict[str, Subject], read: Read) -> None:
    subject = subjects.get(name_of(found))
    if subject is None:
        return
    weight, now = read(found, subject), system_clock().timestamp()
    if weight is None:
        return
    if weight > 0 and subject.began_at is None:
        subject.began_at = now
    if weight == 0 and subject.began_at is not None and subject.reverted_at is None:
        subject.reverted_at = now


async def follow_envoy(xds: str, namespace: str, subjects: dict[str, Subject]) -> None:
    """Note when Envoy has acknowledged that a candidate which it served serves nothing, until cancelled."""
    since, split = -1, set[str]()
    async with httpx.AsyncClient(timeout=30) as http:
        while True:
            try:
                query = {"since": since, "wait": 20}
                told = (await http.get(f"http://{xds}/v1/state", params=query)).json()
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
                continue
            since, now = told["version"], system_clock().timestamp()
            for gateway in told["gateways"].values():
                for key, entry in gateway["policies"].items():
                    subject = subjects.get(key.removeprefix(f"{namespace}/"))
                    if subject is None or not entry["programmed"]:
                        continue
                    serving = [share for share in entry["traffic"] if share["weightPermille"] > 0]
                    if len(serving) > 1:
                        split.add(subject.name)
                    elif subject.name in split and subject.acknowledged_at is None:
                        subject.acknowledged_at = now
