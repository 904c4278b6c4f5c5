"""The evaluator's own HTTP address: health, metrics, summaries; and deletion by session.

The last is served where a certificate of ours is asked for, and done for those whose certificate names the
role. Envoys and Tritons have certificates of the same authority, and no business deleting.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiohttp import web

from pointsman import probes
from pointsman.evaluator.record import session_digest
from pointsman.evaluator.store import StoreError
from pointsman.evaluator.summary import Window, summarize
from pointsman.evaluator.writer import micros

if TYPE_CHECKING:
    from collections.abc import Collection

    from prometheus_client import CollectorRegistry

    from pointsman.clock import Clock
    from pointsman.evaluator.bodies import Bodies
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.store.address import Address
    from pointsman.evaluator.writer import Writer

ERASER: Final = "pointsman-eraser"
"""DNS name in the certificate of who may delete a session, unless `--eraser` says otherwise."""
SUMMARY_DEADLINE_S: Final = 30.0
STUCK_S: Final = 10.0
"""Rows that wait this long mean a store that does not take them."""


class Api:
    """The routes."""

    def __init__(
        self,
        writer: Writer,
        policies: Policies,
        store: Address,
        registry: CollectorRegistry,
        clock: Clock,
        *,
        bodies: Bodies | None = None,
        erasers: Collection[str] = (ERASER,),
    ) -> None:
        """`erasers`: DNS names in certificates of who may delete."""
        self._writer = writer
        self._policies = policies
        self._store = store
        self._registry = registry
        self._clock = clock
        self._bodies = bodies
        self._erasers = frozenset(erasers)

    def app(self) -> web.Application:
        """Return the application: everything in it only reads."""
        app = web.Application()
        app.add_routes(
            [
                *probes.routes(self._registry, self._ready, self._writer.totals.render),
                web.get("/v1/summary", self._summary),
            ]
        )
        return app

    def deletion(self) -> list[web.RouteDef]:
        """Return the routes that take something away: to be served only where a caller shows who it is."""
        return [web.delete("/v1/sessions/{session}", self._forget)]

    def _ready(self) -> tuple[bool, str]:
        waits = []
        if not self._policies.synced.is_set():
            waits.append("policies and revisions are not listed yet: is the API server reachable?")
        if self._writer.failing or self._writer.backlog_s > STUCK_S:
            waits.append(f"the store does not take rows: {self._writer.failing or 'it is slow'}")
        return not waits, "\n".join(waits or ["ok"])

    async def _summary(self, request: web.Request) -> web.Response:
        """`?policy=namespace/name[&since=RFC3339][&until=RFC3339]`."""
        query = request.query
        policy = query.get("policy", "")
        if "/" not in policy:
            return _error(400, "policy: give ?policy=namespace/name")
        try:
            window = Window(
                policy,
                _moment_us(query["since"]) if "since" in query else 0,
                _moment_us(query["until"]) if "until" in query else 1 << 62,
            )
        except ValueError as error:
            return _error(
                400, f"since, until: must be RFC 3339 times, for instance 2026-01-31T12:00:00Z ({error})"
            )
        try:
            async with asyncio.timeout(SUMMARY_DEADLINE_S):
                found = await asyncio.to_thread(summarize, self._store, window)
        except (StoreError, TimeoutError) as error:
            return _error(503, f"the store cannot be read now: {error}")
        return web.json_response(found)

    async def _forget(self, request: web.Request) -> web.Response:
        """Delete a session's texts and its link to its requests."""
        if not _names(request) & self._erasers:
            names = ", ".join(sorted(self._erasers))
            return _error(403, f"nothing was deleted: show a client certificate with DNS name {names}")
        session = session_digest(request.match_info["session"])
        now_us = micros(self._clock)
        if self._bodies is not None:
            self._bodies.clear()
        try:
            done = await self._writer.call(lambda store: store.forget(session, now_us))
        except StoreError as error:
            return _error(503, f"nothing was deleted, try again: {error}")
        return web.json_response({"requests": done.requests, "texts": done.texts})


def _names(request: web.Request) -> frozenset[str]:
    """Return the DNS names in the client's certificate, which the handshake has verified."""
    channel = request.get_extra_info("ssl_object")
    shown = channel.getpeercert() if channel is not None else None
    return frozenset(name for kind, name in (shown or {}).get("subjectAltName", ()) if kind == "DNS")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status, dumps=json.dumps)


def _moment_us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)
