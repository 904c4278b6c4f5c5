"""The tiers' keys: a watch for each Secret that a plan names, and for no other."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from pointsman.kube.client import Selector, secret_data
from pointsman.kube.informer import Informer
from pointsman.kube.resources import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pointsman.kube.client import KubeClient, Object
    from pointsman.plan.types import SecretName

PATIENCE_S: Final = 5.0
"""How long a plan waits for its keys to be read; then it is served without."""


class SecretCache:
    """Needed Secrets by (namespace, name). `changed` is called when a key may have another value."""

    def __init__(self, client: KubeClient, group: asyncio.TaskGroup, changed: Callable[[], None]) -> None:
        self._client = client
        self._group = group
        self._changed = changed
        self._watched: dict[tuple[str, str], tuple[Informer, asyncio.Task[None], float]] = {}

    def need(self, names: Iterable[SecretName]) -> None:
        """Watch exactly the Secrets of these keys."""
        needed = {(name.namespace, name.name) for name in names}
        for gone in self._watched.keys() - needed:
            self._watched.pop(gone)[1].cancel()
        for namespace, name in needed - self._watched.keys():
            informer = Informer(
                self._client,
                SECRETS,
                namespace=namespace,
                selector=Selector(fields=f"metadata.name={name}"),
                on_change=lambda _: self._changed(),
                reduce=_data_only,
            )
            task = self._group.create_task(informer.run(), name=f"secret {namespace}/{name}")
            self._group.create_task(self._announce(informer, task))
            self._watched[namespace, name] = informer, task, time.monotonic()

    async def _announce(self, informer: Informer, task: asyncio.Task[None]) -> None:
        """Say that a Secret has been looked for, found or not, or that this took too long."""
        synced = asyncio.ensure_future(informer.synced.wait())
        await asyncio.wait({synced, task}, timeout=PATIENCE_S + 0.1, return_when=asyncio.FIRST_COMPLETED)
        synced.cancel()
        self._changed()

    def known(self, name: SecretName) -> bool:
        """Tell whether a key's value (or absence) is known, or was waited for long enough."""
        watched = self._watched.get((name.namespace, name.name))
        if watched is None:
            return False
        informer, _, since = watched
        return informer.synced.is_set() or time.monotonic() >= since + PATIENCE_S

    def value(self, name: SecretName) -> bytes | None:
        """Return a key; None if there is no such Secret or no such key in it."""
        watched = self._watched.get((name.namespace, name.name))
        if watched is None:
            return None
        found = watched[0].store.get(f"{name.namespace}/{name.name}")
        return None if found is None else secret_data(found).get(name.key)


def _data_only(obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "name", "resourceVersion") if key in metadata}
    return {"metadata": kept, "data": obj.get("data") or {}}
