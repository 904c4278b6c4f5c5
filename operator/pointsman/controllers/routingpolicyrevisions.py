"""RoutingPolicyRevision: events in, the keys of the policies that they name into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

from pointsman.kube.resources import REVISIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.controllers.store import Store


def register(registry: kopf.OperatorRegistry, store: Store, enqueue: Callable[[str], None]) -> None:
    """Follow RoutingPolicyRevisions, by `on.event` alone."""

    @kopf.on.event(REVISIONS.group, REVISIONS.version, REVISIONS.plural, registry=registry)
    async def routing_policy_revision(event: kopf.RawEvent, **_: Any) -> None:
        take = store.drop_revision if event["type"] == "DELETED" else store.put_revision
        enqueue(take(event["object"]))
