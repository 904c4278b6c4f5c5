"""A cache of one resource, kept true by list and watch; it outlives the API server's restarts.

A watch goes on only after one whose time was over. After any other end everything is listed: the API server
may have come back with an older state (etcd restored from a snapshot). Its resourceVersions are then smaller
than ours, and a watch from ours would wait, silent, until they have caught up.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pointsman.clock import system_clock
from pointsman.kube.client import EVERYTHING, WATCH_S
from pointsman.kube.errors import Gone, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pointsman.clock import Clock
    from pointsman.kube.client import KubeClient, Object, Selector, WatchEvent
    from pointsman.kube.resources import Resource

log = logging.getLogger(__name__)

BACKOFF_S: Final = (0.1, 5.0)
"""Bounds of the pause after a failure; small, because traffic waits for what we miss."""
WATCH_LEAST_S: Final = 1.0
"""A watch that ends sooner counts as a failure: a server that is going down ends them at once."""
EARLY_S: Final = 1.0
"""A watch that ends so much before its time was cut short: by a server that goes down, at the latest."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object's change. `old` is None when it is new, `new` is None when it is gone."""

    key: str
    old: Object | None
    new: Object | None


def key_of(obj: Mapping[str, Any]) -> str:
    """Return `namespace/name`, or `name` of an object without a namespace."""
    metadata = obj["metadata"]
    namespace, name = metadata.get("namespace"), str(metadata["name"])
    return f"{namespace}/{name}" if namespace else name


def without_managed_fields(obj: Object) -> Object:
    """Drop what only the API server needs and what is often half of an object."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """Lists, then watches. `run()` until cancelled; `synced` is set after the first whole list and stays set.

    `on_change` is called in the loop's thread after the store has changed, once for each object that did;
    it must not block. `reduce` may cut an object down before it is kept. `error` is why the store may be
    stale, `on_error` is called when it becomes another one, or none.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        *,
        namespace: str | None = None,
        selector: Selector = EVERYTHING,
        on_change: Callable[[Change], None] | None = None,
        on_error: Callable[[], None] | None = None,
        reduce: Callable[[Object], Object] = without_managed_fields,
        clock: Clock = system_clock,
        watch_s: int = WATCH_S,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._selector = selector
        self._on_change = on_change
        self._on_error = on_error
        self._reduce = reduce
        self._clock = clock
        self._watch_s = watch_s
        self._objects: dict[str, Object] = {}
        self._version: str | None = None
        self._pause = BACKOFF_S[0]
        self.error: KubeError | None = None
        self.synced = asyncio.Event()

    @property
    def store(self) -> Mapping[str, Object]:
        """The objects by `namespace/name`: a live, read-only view. Do not change what is in it."""
        return MappingProxyType(self._objects)

    async def run(self) -> None:
        """List and watch for ever."""
        try:
            while True:
                started = time.monotonic()
                try:
                    if self._version is None:
                        await self._relist()
                    await self._watch()
                except KubeError as error:
                    self._version = None
                    self._failed(error)
                else:
                    if time.monotonic() - started > WATCH_LEAST_S:
                        continue
                await asyncio.sleep(random.uniform(self._pause / 2, self._pause))  # noqa: S311 - jitter
                self._pause = min(self._pause * 2, BACKOFF_S[1])
        finally:
            self._count(-len(self._objects))

    async def _relist(self) -> None:
        """Read everything and apply the difference."""
        listing = await self._client.list(self._resource, self._namespace, self._selector)
        self._client.metrics.relists.labels(self._resource.label).inc()
        found = {key_of(item): self._reduce(item) for item in listing.items}
        for key in [key for key in self._objects if key not in found]:
            self._put(key, None)
        for key, obj in found.items():
            self._put(key, obj)
        self._version = listing.resource_version
        self._heard()
        self.synced.set()

    async def _watch(self) -> None:
        """Apply changes until the server ends the watch; unless that was in its time, a list follows."""
        ends, started = self._client.metrics.watch_ends, time.monotonic()
        try:
            events = self._client.watch(
                self._resource,
                self._version or "",
                namespace=self._namespace,
                selector=self._selector,
                timeout_s=self._watch_s,
            )
            async with aclosing(events):
                async for event in events:
                    self._apply(event)
                    self._heard()
        except Gone:
            ends.labels(self._resource.label, "gone").inc()
            raise
        except KubeError:
            ends.labels(self._resource.label, "error").inc()
            raise
        ends.labels(self._resource.label, "server").inc()
        if time.monotonic() - started < self._watch_s - EARLY_S:
            self._version = None

    def _apply(self, event: WatchEvent) -> None:
        self._version = event.object["metadata"]["resourceVersion"]
        if event.type == "BOOKMARK":
            return
        self._put(key_of(event.object), None if event.type == "DELETED" else self._reduce(event.object))

    def _put(self, key: str, new: Object | None) -> None:
        """Store `new` (None: remove) and tell, unless it is what we have."""
        old = self._objects.get(key)
        if new is None:
            if self._objects.pop(key, None) is None:
                return
            self._count(-1)
        else:
            if old == new:  # not by its version: after a restore another content can have the same
                return
            self._objects[key] = new
            self._count(0 if old else 1)
        if self._on_change is not None:
            self._on_change(Change(key, old, new))

    def _count(self, by: int) -> None:
        # several informers of one resource (one for each Secret) share the gauge
        self._client.metrics.objects.labels(self._resource.label).inc(by)

    def _heard(self) -> None:
        self._blame(None)
        self._pause = BACKOFF_S[0]
        self._client.metrics.last_contact.labels(self._resource.label).set(self._clock().timestamp())

    def _failed(self, error: KubeError) -> None:
        """Log a failure once, not at every attempt."""
        if str(error) != str(self.error):
            log.warning("cache of %s is stale: %s", self._resource.label, error)
            self._blame(error)

    def _blame(self, error: KubeError | None) -> None:
        if error is self.error:
            return
        self.error = error
        if self._on_error is not None:
            self._on_error()


def informers(
    client: KubeClient, resource: Resource, namespaces: Sequence[str], on_change: Callable[[Change], None]
) -> tuple[Informer, ...]:
    """Return an informer for each namespace, for who has rights in these alone; (): one of all of them."""
    return tuple(
        Informer(client, resource, namespace=namespace, on_change=on_change)
        for namespace in namespaces or (None,)
    )
