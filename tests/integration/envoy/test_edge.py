"""A gateway's listener as the edge: what clients send that must not pass, and what they are told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from envoy_kit.servers import Server, chat_answer
from plans import arm, policy, tier
from pointsman.lab.process import free_port
from pointsman.plan.types import ListenerPlan
from wait import until
from xds_kit import Address, envoy, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.envoy

OURS = ("x-pointsman-", "x-envoy-", "x-forwarded-")
FORGED = {
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-expected-rq-timeout-ms": "1",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "b.example.com",
    "x-forwarded-proto": "https",
    "x-pointsman-tier": "cheap",
    "x-pointsman-shadow": "default/a/r1/strong",
}
BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    """Return a running upstream."""
    running = Server(chat_answer("m"))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def edge(tmp_path: Path, upstream: Server) -> AsyncIterator[str]:
    """Run an Envoy with a gateway's listener; yield its address."""
    listener = ListenerPlan("http", free_port())
    async with xds_server(Address()) as xds:
        xds.show(listener)
        xds.desire(policy("a", arm(tier(port=upstream.port))))
        async with envoy(xds, tmp_path):
            await until(lambda: xds.programmed("default/a"))
            yield f"127.0.0.1:{listener.port}"


async def post(address: str, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    """Send one chat request."""
    async with httpx.AsyncClient(timeout=5) as http:
        url = f"http://{address}{path}"
        return await http.post(url, headers={"host": "a.example.com", **headers}, json=BODY)


async def test_forged_headers_stop_at_the_edge(edge: str, upstream: Server) -> None:
    """Neither ours nor Envoy's nor a proxy's reach the tier, nor change what Envoy does."""
    response = await post(edge, **FORGED)
    assert response.status_code == 200
    received = {name.lower() for name in upstream.received[-1].headers}
    assert not [name for name in received if name.startswith(OURS)]
    told = {name for name in response.headers if name.startswith(("x-envoy-", "x-forwarded-"))}
    assert not told
    assert response.headers["server"] == "pointsman"


async def test_a_header_with_an_underscore_is_refused(edge: str, upstream: Server) -> None:
    """Servers that take _ for - would see another header than we looked for."""
    assert (await post(edge, x_pointsman_key="me")).status_code == 400
    assert not upstream.received


async def test_paths_are_made_plain(edge: str, upstream: Server) -> None:
    """Dots and doubled slashes are resolved before anything is matched."""
    raw = b"POST //v1/x/../chat//completions HTTP/1.1\r\nhost: a.example.com\r\ncontent-length: 16\r\n\r\n"
    host, _, port = edge.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw + b'{"model":"auto"}')
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()
    assert upstream.received[-1].path == "/v1/chat/completions"


async def test_headers_have_a_limit(edge: str, upstream: Server) -> None:
    """60 KiB, and 100 of them: beyond it 431, and the tier hears nothing."""
    assert (await post(edge, **{"x-long": "x" * 61 * 1024})).status_code == 431
    many = {f"x-many-{i}": "x" for i in range(101)}
    assert (await post(edge, **many)).status_code == 431
    assert not upstream.received
