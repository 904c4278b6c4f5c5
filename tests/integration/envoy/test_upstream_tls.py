"""A tier by https: Envoy takes an endpoint's certificate for that endpoint's own name alone."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from plans import arm, policy
from plans import tier as plain_tier
from pointsman.lab.pki import Authority
from pointsman.plan.types import Endpoint
from pointsman.xds.translate import Options
from wait import until
from xds_kit import Address, Xds, ask, envoy, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from pointsman.plan.types import TierPlan

pytestmark = pytest.mark.envoy


async def upstream(authority: Authority, name: str) -> web.AppRunner:
    """Run an https server on 127.0.0.1 whose certificate carries `name`."""
    pair = authority.leaf(f"up-{name}", name, hosts=[name])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"host": request.host})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return runner


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[dict[str, int]]:
    """Run a server for each of three names; yield their ports."""
    authority = Authority(tmp_path / "pki")
    runners = {name: await upstream(authority, name) for name in ("a.localhost", "b.localhost", "127.0.0.1")}
    yield {name: runner.addresses[0][1] for name, runner in runners.items()}
    for runner in runners.values():
        await runner.cleanup()


@pytest.fixture
async def xds(tmp_path: Path, ports: dict[str, int]) -> AsyncIterator[Xds]:
    """Run an xds server whose Envoys trust the upstreams' authority, and one Envoy."""
    async with xds_server(Address(), options=Options(ca_file=str(tmp_path / "pki" / "ca.crt"))) as running:
        running.desire()
        async with envoy(running, tmp_path):
            yield running


def tier(endpoints: Sequence[tuple[str, int]]) -> TierPlan:
    """Return a tier with these https endpoints."""
    made = plain_tier()
    return type(made)(
        name="strong",
        endpoints=tuple(Endpoint("https", host, port, "/v1") for host, port in endpoints),
        model=made.model,
        api_key=None,
        idle_timeout_ms=5_000,
        total_timeout_ms=10_000,
        namespace="default",
    )


async def answers(xds: Xds, *endpoints: tuple[str, int]) -> list[tuple[int, str]]:
    """Serve a tier with these endpoints; return status and Host of some requests, sorted, each once."""
    xds.desire(policy("p", arm(tier(endpoints))))
    await until(lambda: xds.programmed("default/p"))
    found = set()
    for _ in range(48):
        response = await ask(xds.entry, "p.example.com")
        found.add((response.status_code, response.json().get("host", "")))
    return sorted(found)


async def test_one_name(xds: Xds, ports: dict[str, int]) -> None:
    """The certificate carries the endpoint's name: it answers, and is asked by that name."""
    port = ports["a.localhost"]
    assert await answers(xds, ("a.localhost", port)) == [(200, f"a.localhost:{port}")]


async def test_one_address(xds: Xds, ports: dict[str, int]) -> None:
    """An endpoint by address is checked against its address."""
    port = ports["127.0.0.1"]
    assert await answers(xds, ("127.0.0.1", port)) == [(200, f"127.0.0.1:{port}")]


@pytest.mark.parametrize("name", ["b.localhost", "127.0.0.1"])
async def test_another_certificate_is_refused(xds: Xds, ports: dict[str, int], name: str) -> None:
    """A certificate of the same authority for another name is no certificate."""
    assert await answers(xds, (name, ports["a.localhost"])) == [(503, "")]


async def test_several_endpoints_each_by_its_own_name(xds: Xds, ports: dict[str, int]) -> None:
    """Two names and an address: each answers, asked by its own."""
    all_three = [(name, ports[name]) for name in ports]
    assert await answers(xds, *all_three) == sorted((200, f"{name}:{port}") for name, port in all_three)


async def test_endpoints_cannot_stand_in_for_each_other(xds: Xds, ports: dict[str, int]) -> None:
    """With their ports crossed, neither endpoint's certificate is taken for the other's name."""
    crossed = [("a.localhost", ports["b.localhost"]), ("b.localhost", ports["a.localhost"])]
    assert await answers(xds, *crossed) == [(503, "")]
