"""The stats listener: the harmless part of Envoy's admin interface, and when an Envoy is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client import CollectorRegistry

from pointsman.clock import system_clock
from pointsman.evaluator.envoy_admin import EnvoyAdmin
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.lab.process import free_port
from pointsman.plan.types import ListenerPlan
from wait import until
from xds_kit import Address, Xds, ask, envoy, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.envoy


@pytest.fixture
async def xds() -> AsyncIterator[Xds]:
    """Run an xds server that knows everything."""
    async with xds_server(Address()) as running:
        yield running


async def get(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and text; 0 where nobody answers."""
    async with httpx.AsyncClient(timeout=5) as http:
        try:
            response = await http.request(method, f"http://{address}{path}")
        except httpx.TransportError:
            return 0, ""
        return response.status_code, response.text


async def test_the_harmless_part_and_nothing_else(xds: Xds, tmp_path: Path) -> None:
    """Figures and readiness are told to who asks with GET; what shows or changes more is not there."""
    stats = f"127.0.0.1:{free_port()}"
    async with envoy(xds, tmp_path, stats_address=stats):
        await ready(stats)
        assert (await get(stats, "/server_info"))[0] == 200
        assert "envoy_server_live" in (await get(stats, "/stats/prometheus"))[1]
        assert (await get(stats, "/stats?filter=^server.live$"))[1] == "server.live: 1\n"
        for path in (
            "/config_dump",
            "/certs",
            "/",
            "/quitquitquit",
            "/stats/recentlookups",
            "/ready/../certs",
        ):
            assert (await get(stats, path))[0] == 404, path
            assert (await get(stats, path, "POST"))[0] == 404, path
        for path in ("/stats", "/ready", "/server_info", "/stats/prometheus"):
            assert (await get(stats, path, "POST"))[0] == 405, path


async def test_the_evaluator_counts_by_it(xds: Xds, tmp_path: Path) -> None:
    """What the evaluator asks of the admin address it can ask here, over every listener together."""
    first, second = free_port(), free_port()
    xds.show(ListenerPlan("a", first), ListenerPlan("b", second))
    stats = f"127.0.0.1:{free_port()}"
    async with envoy(xds, tmp_path, stats_address=stats), httpx.AsyncClient() as http:
        await ready(stats)
        for port in (first, second, second):
            await ask(f"127.0.0.1:{port}", "nobody.example.com")
        admin = EnvoyAdmin(http, f"http://{stats}", ProcessMetrics(CollectorRegistry()), system_clock)
        look = await admin.look()
        assert look is not None
        assert look.finished == 3
        assert look.node.startswith("envoy-")


async def test_an_envoy_without_configuration_is_never_ready(tmp_path: Path) -> None:
    """While no xds server has answered nobody is told to send requests here; then it serves."""
    stats = f"127.0.0.1:{free_port()}"
    async with (
        xds_server(Address(), opened=False) as xds,
        envoy(xds, tmp_path, stats_address=stats, configured=False) as running,
    ):
        assert (await get(running.admin_address, "/ready"))[0] == 503
        assert (await get(stats, "/ready"))[0] in {0, 503}
        xds.hub.open()
        await ready(stats)


async def test_an_envoy_without_a_listener_is_not_ready(xds: Xds, tmp_path: Path) -> None:
    """A gateway that nobody knows has no listener: live, but nobody can connect; with one it is ready."""
    xds.show()
    stats = f"127.0.0.1:{free_port()}"
    async with envoy(xds, tmp_path, stats_address=stats):
        assert await get(stats, "/ready") == (503, "no listener for clients yet\n")
        xds.show(ListenerPlan("http", free_port()))
        await ready(stats)


async def test_an_envoy_that_drains_is_not_ready(xds: Xds, tmp_path: Path) -> None:
    """`/healthcheck/fail` on the admin address is heard here: the Service stops sending."""
    stats = f"127.0.0.1:{free_port()}"
    async with envoy(xds, tmp_path, stats_address=stats) as running:
        await ready(stats)
        assert (await get(running.admin_address, "/healthcheck/fail", "POST"))[0] == 200
        assert (await get(stats, "/ready"))[0] == 503


async def test_a_full_envoy_refuses_requests_and_still_tells_its_figures(xds: Xds, tmp_path: Path) -> None:
    """Beyond its heap new requests are answered 503; figures and readiness are told as before."""
    stats = f"127.0.0.1:{free_port()}"
    async with envoy(xds, tmp_path, stats_address=stats, heap_bytes=1):
        await ready(stats)

        async def full() -> bool:
            response = await ask(xds.entry, "nobody.example.com")
            return response.status_code == 503 and "overload" in response.text

        await until(full)
        assert "stop_accepting_requests.active: 1" in (await get(stats, "/stats?filter=overload"))[1]


async def ready(address: str) -> None:
    """Wait until `/ready` says so."""

    async def told() -> bool:
        return await get(address, "/ready") == (200, "LIVE\n")

    await until(told, 20, what=f"{address}/ready")
