"""The only door to the API server: `kubernetes.aio` with deadlines, retries and metrics; plain dicts."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import CollectorRegistry

from pointsman import __version__
from pointsman.kube.errors import TOO_MANY, KubeError, NotLeading, Unavailable, refusal
from pointsman.kube.metrics import KubeMetrics
from pointsman.kube.resources import CONFIG_MAPS, SECRETS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from pointsman.kube.resources import Resource

Object = dict[str, Any]
"""An API object as decoded JSON."""

DEADLINE_S: Final = 10.0
"""Longest that a call takes, with all its retries."""
ATTEMPT_S: Final = 5.0
CONNECT_S: Final = 3.0
BACKOFF_S: Final = (0.05, 2.0)
"""First and greatest upper bound of the pause before a retry; the pause is uniform below it (full jitter)."""
PAGE: Final = 500
WATCH_S: Final = 120
"""A watch is renewed this often, so that a connection that died silently is noticed."""
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
FIELD_MANAGER: Final = "pointsman"


@dataclass(frozen=True, slots=True)
class Listing:
    """A list and the resourceVersion from which a watch continues it."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type`: ADDED, MODIFIED, DELETED or BOOKMARK (then `object` has only a resourceVersion)."""

    type: str
    object: Object


@dataclass(frozen=True, slots=True)
class Selector:
    """Which objects of a collection: as kubectl's `-l` and `--field-selector`."""

    labels: str = ""
    fields: str = ""

    def query(self) -> dict[str, str]:
        """Return the query parameters."""
        pairs = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {key: value for key, value in pairs.items() if value}


EVERYTHING: Final = Selector()


class KubeClient:
    """Calls of the Kubernetes API. Each ends within its deadline; `kube.errors` says how it can fail."""

    def __init__(
        self, api: ApiClient, metrics: KubeMetrics, may_write_s: Callable[[], float] | None = None
    ) -> None:
        """`may_write_s`: for how many more seconds writes may be under way, 0 for none at all."""
        self._api = api
        self.metrics = metrics
        self._may_write_s = may_write_s

    @classmethod
    async def open(cls, kubeconfig: str | None, metrics: KubeMetrics | None = None) -> KubeClient:
        """Return a client for the kubeconfig's current context or, with None, for this pod's cluster."""
        configuration = Configuration()
        if kubeconfig is None:
            kube_config.load_incluster_config(client_configuration=configuration)
        else:
            await kube_config.load_kube_config(
                config_file=kubeconfig, client_configuration=configuration, persist_config=False
            )
        # No limit: each watch holds a connection, and requests must not queue behind them.
        configuration.connection_pool_maxsize = 0
        api = ApiClient(configuration)
        api.user_agent = f"pointsman/{__version__}"  # the name before the slash is the field manager
        return cls(api, metrics or KubeMetrics(CollectorRegistry()))

    def fenced(self, may_write_s: Callable[[], float]) -> KubeClient:
        """Return a client on the same connections that writes only while it may; else `NotLeading`."""
        return KubeClient(self._api, self.metrics, may_write_s)

    @property
    def api(self) -> ApiClient:
        """The library's own client, for its configuration."""
        return self._api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return one object; `NotFound` if it is not there."""
        return await self._call("GET", "get", resource, resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str | None = None, selector: Selector = EVERYTHING
    ) -> Listing:
        """Return all objects (of one namespace, or of all), in pages of 500."""
        items: list[Object] = []
        query = selector.query() | {"limit": str(PAGE)}
        while True:
            page = await self._call("GET", "list", resource, resource.path(namespace), query=query)
            items += page.get("items") or ()
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(items, str(metadata.get("resourceVersion", "")))
            query["continue"] = metadata["continue"]

    async def watch(
        self,
        resource: Resource,
        resource_version: str,
        namespace: str | None = None,
        selector: Selector = EVERYTHING,
        *,
        timeout_s: int = WATCH_S,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield changes after `resource_version` until the server ends the watch; `Gone`: list again."""
        query = selector.query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_s),
        }
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s + 10)
        what = f"watch {resource.label}"
        path = resource.path(namespace)
        try:
            async with self._send("GET", "watch", resource, path, query=query, limits=limits) as response:
                if not response.ok:
                    raise refusal(what, response.status, await response.read())
                async for line in _lines(response):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise refusal(what, int(status.get("code", 0)), json.dumps(status).encode())
                    yield WatchEvent(event["type"], event["object"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _lost(what, error) from error

    async def secret(self, name: str, namespace: str) -> dict[str, bytes]:
        """Return a Secret's data, decoded."""
        return secret_data(await self.get(SECRETS, name, namespace))

    async def config_map(self, name: str, namespace: str) -> dict[str, bytes]:
        """Return a ConfigMap's `data` and `binaryData` as bytes."""
        found = await self.get(CONFIG_MAPS, name, namespace)
        text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return text | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}

    # -- writing ---------------------------------------------------------------------------------------------

    async def create(
        self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None
    ) -> Object:
        """Create an object and return it; `AlreadyExists`, or `Invalid` with admission's words."""
        return await self._call("POST", "create", resource, resource.path(namespace), body=dict(body))

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        subresource: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """Merge `body` in (RFC 7386: null removes, lists replace). `Conflict`: resource_version is old."""
        whole = dict(body)
        if resource_version is not None:
            whole["metadata"] = dict(whole.get("metadata") or {}) | {"resourceVersion": resource_version}
        path = resource.path(namespace, name, subresource)
        return await self._call("PATCH", "patch", resource, path, body=whole)

    async def patch_status(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        status: Mapping[str, Any],
        *,
        resource_version: str,
    ) -> Object:
        """Merge into the status what was decided on `resource_version`; `Conflict`: observe again."""
        body = {"status": dict(status)}
        return await self.patch(
            resource, name, namespace, body, subresource="status", resource_version=resource_version
        )

    async def replace(self, resource: Resource, body: Mapping[str, Any]) -> Object:
        """Replace a whole object (PUT); `Conflict` if `body` holds a resourceVersion that is not current."""
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        return await self._call("PUT", "update", resource, path, body=dict(body))

    async def apply(
        self, resource: Resource, body: Mapping[str, Any], *, manager: str = FIELD_MANAGER
    ) -> Object:
        """Server-side apply: the fields that `body` holds are ours from now on, those of others stay.

        What we applied before and `body` lacks is removed. A field that another manager owns is taken over.
        """
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", "apply", resource, path, query=query, body=dict(body))

    async def delete(
        self, resource: Resource, name: str, namespace: str | None = None, *, uid: str | None = None
    ) -> None:
        """Delete an object (with `uid` only that very one), dependents later. Gone already is fine."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", "delete", resource, resource.path(namespace, name), body=options)
        except KubeError as error:
            if error.status != 404:  # noqa: PLR2004 - HTTP
                raise

    # -- one call --------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> Object:
        """Send until answered or the deadline is over. A POST is repeated only if it surely did nothing."""
        what = f"{verb} {path}"
        end = time.monotonic() + DEADLINE_S
        bound = BACKOFF_S[0]
        while True:
            left = end - time.monotonic()
            if method != "GET" and self._may_write_s is not None:
                left = min(left, self._leave(what))
            limits = aiohttp.ClientTimeout(total=max(0.1, min(ATTEMPT_S, left)), sock_connect=CONNECT_S)
            try:
                async with self._send(
                    method, verb, resource, path, query=query or {}, limits=limits, body=body
                ) as response:
                    data = await response.read()
                    if response.ok:
                        return json.loads(data) if data else {}
                    failure = refusal(what, response.status, data)
                    pause = _retry_after(response)
            except (aiohttp.ClientError, TimeoutError) as error:
                failure, pause = _lost(what, error), 0.0
            pause = max(pause, random.uniform(0, bound))  # noqa: S311 - jitter
            repeatable = isinstance(failure, Unavailable) and (method != "POST" or _did_nothing(failure))
            if not repeatable or time.monotonic() + pause >= end:
                raise failure
            self.metrics.retries.labels(verb, resource.label).inc()
            await asyncio.sleep(pause)
            bound = min(bound * 2, BACKOFF_S[1])

    def _leave(self, what: str) -> float:
        """Return how long a write may take; `NotLeading` if it must not begin."""
        leave = self._may_write_s() if self._may_write_s is not None else ATTEMPT_S
        if leave <= 0:
            raise NotLeading(what, 0, "NotLeading", "not sent: the Lease has run out, another may lead")
        return leave

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        *,
        query: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
        body: Object | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request, counted and timed up to its headers; on leaving, `_let_go`."""
        headers = {"Accept": "application/json"}
        if body is not None:
            patch = APPLY_PATCH if verb == "apply" else MERGE_PATCH
            headers["Content-Type"] = patch if method == "PATCH" else "application/json"
        started, code = time.monotonic(), "error"
        try:
            prepared = await self._api.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._api.call_api(*prepared, _request_timeout=limits)
            code = str(answer.status)
        except TimeoutError:
            code = "timeout"
            raise
        finally:
            self.metrics.requests.labels(verb, resource.label, code).inc()
            self.metrics.duration.labels(verb, resource.label).observe(time.monotonic() - started)
        response: aiohttp.ClientResponse = answer.response
        try:
            yield response
        finally:
            _let_go(response)


def _let_go(response: aiohttp.ClientResponse) -> None:
    """Give back the connection of an answer that was read; end that of a watch at once."""
    connection = response.connection
    if connection is not None and connection.transport is not None and not response.content.at_eof():
        # TLS would wait in the background, half a minute, for the goodbye of a server that hangs
        connection.transport.abort()
        response.close()
    else:
        response.release()


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a streamed answer, however long (aiohttp's own reader has a limit)."""
    pending = bytearray()
    async for chunk in response.content.iter_any():
        pending += chunk
        *whole, pending = pending.split(b"\n")
        for line in whole:
            if line:
                yield bytes(line)


def _lost(what: str, error: Exception) -> Unavailable:
    reason = "ConnectionRefused" if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__
    return Unavailable(what, 0, reason, str(error) or "no answer in time")


def _did_nothing(failure: KubeError) -> bool:
    """Tell whether the API server surely did not act: never reached, or it shed the request before acting."""
    return failure.status == TOO_MANY or failure.reason == "ConnectionRefused"


def _retry_after(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), 5.0) if value.isdigit() else 0.0


def secret_data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a Secret object's `data`, decoded."""
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
