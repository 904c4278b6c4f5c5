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
    more: Callable[[], bytes] | None = None,
) -> web.AppRunner:
    """Listen on `host:port`; `ready` says whether this process may be counted on, and why (not).

    `more`: metrics in the text format that are not in the registry.
    """
    app = web.Application()
    app.add_routes(probes.routes(registry, ready, more))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, *split_address(address)).start()
    return runner
