"""RolloutAction: events in, the keys of the policies that they name into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

from pointsman.kube.resources import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.controllers.store import Store


def register(registry: kopf.OperatorRegistry, store: Store, enqueue: Callable[[str], None]) -> None:
    """Follow RolloutActions, by `on.event` alone."""

    @kopf.on.event(ACTIONS.group, ACTIONS.version, ACTIONS.plural, registry=registry)
    async def rollout_action(event: kopf.RawEvent, **_: Any) -> None:
        take = store.drop_action if event["type"] == "DELETED" else store.put_action
        enqueue(take(event["object"]))
