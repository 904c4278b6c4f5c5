"""RoutingPolicy: events in, keys into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

from pointsman.kube.resources import POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.controllers.store import Store


def register(registry: kopf.OperatorRegistry, store: Store, enqueue: Callable[[str], None]) -> None:
    """Follow RoutingPolicies. `on.event` alone: Kopf then writes nothing to what users own."""

    @kopf.on.event(POLICIES.group, POLICIES.version, POLICIES.plural, registry=registry)
    async def routing_policy(event: kopf.RawEvent, **_: Any) -> None:
        take = store.drop_policy if event["type"] == "DELETED" else store.put_policy
        enqueue(take(event["object"]))
