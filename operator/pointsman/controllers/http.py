"""/healthz, /readyz and /metrics of the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from pointsman import probes
from pointsman.address import split_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry


async def serve(
    address: str,
    registry: CollectorRegistry,
    ready: Callable[[], tuple[bool, str]],
) -> web.AppRunner:
    """Listen on `host:port`; `ready` says whether this process may be counted on, and why (not)."""
    app = web.Application()
    app.add_routes(probes.routes(registry, ready))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, *split_address(address)).start()
    return runner
