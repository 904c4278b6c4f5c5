"""The HTTP face: what Envoys have (`/v1/state`, long-poll), health, metrics."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from pointsman import probes

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

MOST_WAIT_S: Final = 60.0
GATHER_S: Final = 0.02
"""Changes that come together are told together."""


class StateBoard:
    """The last state and its number; whoever waits is told when it becomes another one."""

    def __init__(self, read: Callable[[], dict[str, Any]], start: int) -> None:
        """`start`: first number; one that no earlier process can have reached, such as the time in ms."""
        self._read = read
        self._touched = asyncio.Event()
        self._changed = asyncio.Condition()
        self.version = start
        self.state: dict[str, Any] = read()

    def touch(self) -> None:
        """Note that the state may have changed."""
        self._touched.set()

    async def run(self) -> None:
        """Publish changes until cancelled."""
        while True:
            await self._touched.wait()
            await asyncio.sleep(GATHER_S)
            self._touched.clear()
            now = self._read()
            if now != self.state:
                async with self._changed:
                    self.state = now
                    self.version += 1
                    self._changed.notify_all()

    async def after(self, since: int | None, wait_s: float) -> dict[str, Any]:
        """Return the state: at once if its number is not `since`, else when it changes or time is up."""
        if since is not None and since == self.version:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s), self._changed:
                    await self._changed.wait_for(lambda: self.version != since)
        return {"version": self.version, **self.state}


def app(
    board: StateBoard, registry: CollectorRegistry, ready: Callable[[], tuple[bool, str]]
) -> web.Application:
    """Return the application: GET /v1/state, /healthz, /readyz, /metrics."""

    async def state(request: web.Request) -> web.Response:
        try:
            since = int(request.query["since"]) if "since" in request.query else None
            wait = min(max(float(request.query.get("wait", "0")), 0.0), MOST_WAIT_S)
        except ValueError:
            raise web.HTTPBadRequest(text="since is a version, wait a number of seconds\n") from None
        return web.json_response(await board.after(since, wait))

    made = web.Application()
    made.add_routes([web.get("/v1/state", state), *probes.routes(registry, ready)])
    return made
