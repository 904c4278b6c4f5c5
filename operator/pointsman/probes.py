"""/healthz, /readyz and /metrics: the same three on every part of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry


def routes(
    registry: CollectorRegistry,
    ready: Callable[[], tuple[bool, str]],
    more: Callable[[], bytes] | None = None,
) -> list[web.RouteDef]:
    """Return the routes; `ready` says whether this process may be counted on, and why (not).

    `more`: metrics in the text format that are not in the registry (many, and written in a cheaper way).
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        is_ready, words = ready()
        return web.Response(text=f"{words}\n", status=200 if is_ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest(registry) + (more() if more is not None else b"")
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
