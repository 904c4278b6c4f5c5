"""Kopf, as a watcher and nothing else, inside our own event loop; and whole lists now and then.

Kopf tells changes while it watches. What was deleted while it did not (a lost connection, then a new list) it
never tells, and it has no word for "the first list is complete". So each kind is also listed by us: once
before anything is decided, then every few minutes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import kopf

from pointsman.controllers import rolloutactions, routingpolicies, routingpolicyrevisions
from pointsman.kube.errors import KubeError, NotFound
from pointsman.kube.resources import ACTIONS, POLICIES, REVISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointsman.controllers.store import Store
    from pointsman.kube.client import KubeClient, Object
    from pointsman.kube.resources import Resource

log = logging.getLogger(__name__)

RESYNC_S: Final = 300.0
CRDS_S: Final = 1.0


async def resync(client: KubeClient, store: Store, namespaces: Sequence[str]) -> None:
    """Read all policies, revisions and actions into the store, and forget what is gone. `KubeError`."""
    # in this order: one that a later list misses is then younger than the first list, not gone
    actions, actions_at = await _list(client, ACTIONS, namespaces)
    revisions, revisions_at = await _list(client, REVISIONS, namespaces)
    policies, policies_at = await _list(client, POLICIES, namespaces)
    store.replace(policies, revisions, actions, listed_at=min(actions_at, revisions_at, policies_at))


async def _list(
    client: KubeClient, resource: Resource, namespaces: Sequence[str]
) -> tuple[list[Object], int]:
    listings = [await client.list(resource, namespace) for namespace in namespaces or (None,)]
    objects = [item for listing in listings for item in listing.items]
    return objects, min(int(listing.resource_version or 0) for listing in listings)


async def first_sync(client: KubeClient, store: Store, namespaces: Sequence[str]) -> None:
    """Wait for our kinds to exist, and read all of them."""
    told = False
    while True:
        try:
            await resync(client, store, namespaces)
        except NotFound:
            if not told:
                log.info("waiting for the CustomResourceDefinitions; apply crds/ (`pointsman crd`)")
                told = True
        except KubeError as error:
            log.info("waiting for the API server: %s", error)
        else:
            return
        await asyncio.sleep(CRDS_S)


async def keep_synced(
    client: KubeClient, store: Store, namespaces: Sequence[str], enqueue: Callable[[str], None]
) -> None:
    """Read everything anew every few minutes, and have every policy looked at."""
    while True:
        await asyncio.sleep(RESYNC_S)
        before = store.all_keys()
        try:
            await resync(client, store, namespaces)
        except KubeError as error:
            log.info("the periodic list failed, and is tried again: %s", error)
            continue
        for key in before | store.all_keys():
            enqueue(key)


async def watch(
    client: KubeClient,
    store: Store,
    namespaces: Sequence[str],
    enqueue: Callable[[str], None],
    *,
    ready: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    """Run Kopf until `stop`; `ready` is set once it runs. Raises if Kopf cannot go on."""
    registry = kopf.OperatorRegistry()
    routingpolicies.register(registry, store, enqueue)
    routingpolicyrevisions.register(registry, store, enqueue)
    rolloutactions.register(registry, store, enqueue)
    kopf.on.login(registry=registry)(_login(client))
    await kopf.operator(
        registry=registry,
        settings=_settings(namespaces),
        standalone=True,  # peering pauses all equal peers; the Lease decides who leads
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        ready_flag=ready,
        stop_flag=stop,
    )


def _settings(namespaces: Sequence[str]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Who may look into some namespaces alone may not see kinds and namespaces come and go; Kopf would try for
    # most of a minute first.
    settings.scanning.disabled = bool(namespaces)
    settings.posting.enabled = False
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 5.0
    settings.process.ultimate_exiting_timeout = None  # who started us ends us, if need be
    return settings


def _login(client: KubeClient) -> Callable[..., Any]:
    """Return Kopf's login handler: our own client's API server and credentials, read anew each time."""
    configuration = client.api.configuration

    async def login(**_: Any) -> kopf.ConnectionInfo:
        header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        scheme, _sep, token = (header or "").rpartition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme or None,
            token=token or None,
        )

    return login
