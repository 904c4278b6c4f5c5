"""Restarts: of Envoy, of the server; and changes under load lose no request."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from envoy_kit.servers import Server, chat_answer
from plans import arm, policy, tier
from wait import until
from xds_kit import Address, Xds, ask, envoy, stat, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.envoy

UPDATES = (
    "cluster_manager.cds.update_success",
    "listener_manager.lds.update_success",
    "http.entry.rds.entry.update_success",
)


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    """Return a running upstream."""
    server = Server(chat_answer("m"))
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def load(entry: str, host: str, workers: int = 4) -> AsyncIterator[list[int]]:
    """Send requests all the time; yield the list of their status codes."""
    codes: list[int] = []
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}

    async def work(http: httpx.AsyncClient) -> None:
        while True:
            url = f"http://{entry}/v1/chat/completions"
            codes.append((await http.post(url, headers={"host": host}, json=body)).status_code)

    async with httpx.AsyncClient(timeout=10) as http:
        tasks = [asyncio.create_task(work(http)) for _ in range(workers)]
        try:
            yield codes
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in results), results


async def test_a_restarted_envoy_serves_again_within_three_seconds(tmp_path: Path, upstream: Server) -> None:
    """`kill -9` of Envoy with the server alive: it is configured anew."""
    async with xds_server(Address()) as xds:
        xds.desire(policy("a", arm(tier(port=upstream.port))))
        running = envoy(xds, tmp_path)
        async with running:
            assert (await ask(xds.entry, "a.example.com")).status_code == 200
            assert running.child is not None
            running.child.kill()
            started = time.monotonic()
            running.start()

            async def serves() -> bool:
                try:
                    return (await ask(xds.entry, "a.example.com")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(serves)
            assert time.monotonic() - started < 3
            await until(lambda: xds.programmed("default/a"))


async def test_a_restarted_server_sends_nothing_that_envoy_has(tmp_path: Path, upstream: Server) -> None:
    """The next server, which knows nothing of the last one, finds Envoy up to date: not one response."""
    at = Address()
    plans = policy("a", arm(tier(port=upstream.port))), policy("b", arm(tier("other", port=upstream.port)))
    async with xds_server(at) as xds:
        xds.desire(*plans)
        running = envoy(xds, tmp_path)
        async with running:
            await until(lambda: xds.programmed("default/a", "default/b"))
            before = [await stat(running, name) for name in UPDATES]
            async with load(xds.entry, "a.example.com", 1) as codes:
                await stop(xds)
                async with xds_server(at) as after:
                    after.desire(*plans)
                    await until(lambda: after.programmed("default/a", "default/b"), 20)
                    assert after.count("pointsman_xds_pushes_total") == 0
                    assert [await stat(running, name) for name in UPDATES] == before
            assert set(codes) == {200}


async def test_a_poisonous_plan_and_a_restarted_server_harm_nobody_else(
    tmp_path: Path, upstream: Server
) -> None:
    """A server that starts with a plan that Envoy refuses blames that one alone, at once."""
    at = Address()
    good = [policy(f"p{i}", arm(tier(f"t{i}", port=upstream.port))) for i in range(6)]
    bad = policy("bad", arm(tier(port=upstream.port)), hostname="a\nb.example.com")
    async with xds_server(at) as xds:
        xds.desire(*good, bad)
        running = envoy(xds, tmp_path)
        async with running:
            await until(lambda: xds.programmed(*(p.key for p in good)))
            async with load(xds.entry, "p0.example.com", 2) as codes:
                await stop(xds)
                async with xds_server(at) as after:
                    after.desire(*good, bad)
                    await until(lambda: after.hub.state()["default"]["envoys"] == 1, 20)
                    await until(lambda: after.policy(bad.key)["reason"] == "Quarantined")
                    await until(lambda: after.programmed(*(p.key for p in good)))
                    assert after.count("pointsman_xds_nacks_total") == 1
            assert set(codes) == {200}


async def test_fifty_changed_tiers_under_load_lose_no_request(tmp_path: Path, upstream: Server) -> None:
    """Every change brings new clusters and listeners, by address and by name, and takes the old ones away."""
    async with xds_server(Address()) as xds:

        def plan(i: int) -> None:
            new = tier(f"t{i}", port=upstream.port, host="127.0.0.1" if i % 2 else "localhost")
            xds.desire(policy("a", arm(new)))

        plan(0)
        async with envoy(xds, tmp_path) as running:
            await until(lambda: xds.programmed("default/a"))
            async with load(xds.entry, "a.example.com") as codes:
                for i in range(1, 51):
                    plan(i)
                    await until(lambda: xds.programmed("default/a"))
            assert set(codes) == {200}
            assert len(codes) > 100
            assert await stat(running, "http.entry.no_cluster") == 0


async def stop(xds: Xds) -> None:
    """End a server before its context does."""
    await xds.running.stop(0)
