"""The operator's bundle service: pools' lists by long poll, bundles by digest, for agents, over mutual TLS.

Leader and standby alike serve it, from what the API server holds: the pools' ConfigMaps. A certificate opens
the pools that it names, and of the bundles only those that these pools' lists name.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from pointsman import install
from pointsman.address import split_address
from pointsman.api.conditions import ClassifierReadyReason
from pointsman.fetching import FetchError
from pointsman.kube.client import Selector
from pointsman.kube.informer import Informer
from pointsman.kube.resources import CONFIG_MAPS
from pointsman.pools.manifests import COMPONENT
from pointsman.pools.models import KEY, ModelList, dump, parse
from pointsman.tls_files import server_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pointsman.kube.client import KubeClient
    from pointsman.kube.informer import Change
    from pointsman.rollout.observation import Source
    from pointsman.tls_files import TLSFiles

log = logging.getLogger(__name__)

LONGEST_S: Final = 55.0
"""A long poll is answered after this time at the latest, whatever was asked for."""
SELECTOR: Final = f"{install.LABEL_COMPONENT}={COMPONENT},{install.LABEL_POOL}"
"""Of everything that is made for pools."""


class Lists:
    """The lists of all pools as last seen; waits for changes."""

    def __init__(self) -> None:
        self._lists: dict[str, ModelList] = {}
        self._changed = asyncio.Event()

    def put(self, pool: str, found: ModelList | None) -> None:
        """Take a pool's list; None: it has none any more."""
        if found is None:
            self._lists.pop(pool, None)
        else:
            self._lists[pool] = found
        self._changed.set()
        self._changed = asyncio.Event()

    def get(self, pool: str) -> ModelList | None:
        """Return a pool's list."""
        return self._lists.get(pool)

    async def other_than(self, pool: str, version: str, wait_s: float) -> ModelList | None:
        """Return a pool's list once it has another version; after `wait_s` whatever there is."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        while True:
            found, changed = self.get(pool), self._changed
            if (found is not None and found.version != version) or loop.time() >= end:
                return found
            try:
                async with asyncio.timeout_at(end):
                    await changed.wait()
            except TimeoutError:
                return self.get(pool)


def follow(client: KubeClient, namespace: str, lists: Lists) -> Informer:
    """Return an informer that keeps `lists` as the pools' ConfigMaps are; run it."""

    def changed(change: Change) -> None:
        seen = change.new or change.old or {}
        pool = seen["metadata"].get("labels", {}).get(install.LABEL_POOL, "")
        lists.put(pool, list_of(change.new) if change.new is not None else None)

    return Informer(
        client, CONFIG_MAPS, namespace=namespace, selector=Selector(labels=SELECTOR), on_change=changed
    )


def list_of(config_map: dict[str, Any]) -> ModelList | None:
    """Return the list in a pool's ConfigMap; None: there is none that can be read."""
    try:
        return parse((config_map.get("data") or {}).get(KEY, ""))
    except ValueError as error:
        log.error("%s: %s", config_map["metadata"]["name"], error)  # noqa: TRY400 - the words say it
        return None


class BundleService:
    """The HTTP side."""

    def __init__(
        self,
        lists: Lists,
        content: Callable[[Source], Awaitable[bytes]],
        registry: CollectorRegistry,
    ) -> None:
        """`content` returns a verified bundle, or raises `FetchError`."""
        self._lists = lists
        self._content = content
        self._requests = Counter(
            "pointsman_operator_bundle_requests_total",
            "Requests of Tritons' agents; what is list or bundle.",
            ["what", "code"],
            registry=registry,
        )

    async def serve(self, address: str, tls: TLSFiles) -> web.AppRunner:
        """Listen on `host:port`; who has no certificate of our authority is not spoken to."""
        app = web.Application()
        app.add_routes(
            [web.get("/v1/pools/{pool}", self._list), web.get("/v1/bundles/{sha256}", self._bundle)]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, *split_address(address), ssl_context=server_context(tls)).start()
        return runner

    async def _list(self, request: web.Request) -> web.Response:
        pool = request.match_info["pool"]
        if pool not in pools_of(request):
            return self._refuse("list", 403, ClassifierReadyReason.POOL_NOT_ALLOWED, _NOT_YOURS)
        since = request.query.get("since", "")
        wait = request.query.get("wait", "0")
        wait_s = min(float(wait), LONGEST_S) if wait.isdigit() else 0.0
        found = await self._lists.other_than(pool, since, wait_s)
        if found is None:
            words = f"there is no list of TritonPool {pool}"
            return self._refuse("list", 404, ClassifierReadyReason.POOL_NOT_FOUND, words)
        if found.version == since:
            self._requests.labels("list", "304").inc()
            return web.Response(status=304)
        self._requests.labels("list", "200").inc()
        return web.Response(text=dump(found), content_type="application/json")

    async def _bundle(self, request: web.Request) -> web.Response:
        sha256 = request.match_info["sha256"]
        sources = self._sources(sha256, pools_of(request))
        failure = FetchError(ClassifierReadyReason.BUNDLE_NOT_FOUND, f"no list names a bundle {sha256}")
        status = 404
        for source in sources:
            try:
                content = await self._content(source)
            except FetchError as error:
                failure, status = error, 502
                continue
            self._requests.labels("bundle", "200").inc()
            return web.Response(body=content, content_type="application/zip")
        return self._refuse("bundle", status, failure.reason, failure.message)

    def _sources(self, sha256: str, pools: frozenset[str]) -> tuple[Source, ...]:
        """Return where a bundle can be had, if it is wanted on one of these pools."""
        lists = (self._lists.get(pool) for pool in sorted(pools))
        models = (model for found in lists if found is not None for model in found.models)
        return next((model.sources for model in models if model.sha256 == sha256), ())

    def _refuse(self, what: str, status: int, reason: ClassifierReadyReason, message: str) -> web.Response:
        self._requests.labels(what, str(status)).inc()
        return web.json_response({"reason": reason.value, "message": message}, status=status)


_NOT_YOURS: Final = (
    "the certificate is not that pool's; ask with the one of Secret pointsman-triton-<pool>-tls"
)


def pools_of(request: web.Request) -> frozenset[str]:
    """Return the pools whose certificate the caller has shown: its names are those of the pools' Services."""
    certificate = request.get_extra_info("peercert") or {}
    names = {name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"}
    prefix = install.pool_name("")
    return frozenset(
        name.removeprefix(prefix) for name in names if name.startswith(prefix) and "." not in name
    )
