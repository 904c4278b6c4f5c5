"""The end of an Envoy: the real one, told by the script that runs before its pod ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pointsman.contract import ENTRY_STAT_PREFIX
from pointsman.gateways import drain
from pointsman.lab.envoy import Envoy
from pointsman.lab.process import LOCALHOST, free_port
from wait import until

pytestmark = pytest.mark.envoy

_HCM = "envoy.filters.network.http_connection_manager"
_TYPES = "type.googleapis.com/envoy.extensions.filters"


def bootstrap(admin: int, entry: int) -> dict[str, Any]:
    """Return an Envoy that answers every request itself, by a listener that counts as the entry's does."""
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": ENTRY_STAT_PREFIX,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": _HCM, "typed_config": manager}]}
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [{"name": "entry", "address": _address(entry), "filter_chains": [chain]}]
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": LOCALHOST, "port_value": port}}


class Draining:
    """An Envoy and the script that ends it."""

    def __init__(self, admin: int, entry: int) -> None:
        self.admin = admin
        self.url = f"http://{LOCALHOST}:{entry}/"

    async def script(self, drain_s: int) -> float:
        """Run the script; return how many seconds it took."""
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", drain.script(drain_s, self.admin), stderr=asyncio.subprocess.PIPE
        )
        _, complaints = await process.communicate()
        assert (process.returncode, complaints) == (0, b"")
        return time.monotonic() - started

    async def ready(self) -> bool:
        """Tell whether Envoy says that it is ready."""
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://{LOCALHOST}:{self.admin}/ready")
            return bool(answer.is_success)


@pytest.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[Draining]:
    """Start an Envoy."""
    found = Draining(free_port(), free_port())
    entry = int(found.url.split(":")[-1].rstrip("/"))
    running = Envoy(tmp_path, bootstrap(found.admin, entry))
    child = running.start()
    try:
        await asyncio.to_thread(child.wait_ready)
        yield found
    finally:
        await asyncio.to_thread(running.stop)


async def test_an_envoy_without_clients_ends_soon(envoy: Draining) -> None:
    """Not before load balancers may have heard, but long before the drain is over."""
    taken = await envoy.script(drain_s=120)
    assert 10 <= taken < 40


async def test_clients_are_asked_to_go_and_nobody_is_refused(envoy: Draining) -> None:
    """Answers close their connections; new connections are served meanwhile; then Envoy is not ready."""
    async with httpx.AsyncClient() as kept:
        assert "connection" not in (await kept.get(envoy.url)).headers
        ending = asyncio.create_task(envoy.script(drain_s=6))

        async def told() -> bool:
            answer = await kept.get(envoy.url)
            return bool(answer.headers.get("connection") == "close")

        await until(told, 10, 0.1, "an answer that closes its connection")
        async with httpx.AsyncClient() as late:
            assert (await late.get(envoy.url)).status_code == 200
        await until(lambda: _not(envoy.ready()), 10, 0.1, "it says that it is not ready")
        await ending


async def test_a_client_that_stays_is_waited_for_until_the_drain_is_over(envoy: Draining) -> None:
    """A connection with nothing on it holds the end up for as long as was agreed, and no longer."""
    reader, writer = await asyncio.open_connection(LOCALHOST, int(envoy.url.split(":")[-1].rstrip("/")))
    try:
        taken = await envoy.script(drain_s=14)
        assert 14 <= taken < 30
    finally:
        writer.close()
        del reader


async def _not(value: Awaitable[bool]) -> bool:
    return not await value
