"""A real Envoy gets its configuration from the server, and its changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envoy_kit.servers import Server, chat_answer
from plans import arm, policy, tier
from pointsman.lab.pki import Authority
from pointsman.plan.types import SecretName
from wait import until
from xds_kit import Address, Xds, admin, ask, envoy, stat, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.envoy

KEY = SecretName("default", "keys", "strong")


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    """Return a running upstream."""
    server = Server(chat_answer("m"))
    await server.start()
    yield server
    await server.stop()


async def served(xds: Xds, host: str, name: str) -> bool:
    """Tell whether a host is served by the tier so named."""
    response = await ask(xds.entry, host)
    return response.status_code == 200 and response.headers["x-pointsman-served-tier"] == name


async def test_an_envoy_serves_what_it_is_told_over_mutual_tls(tmp_path: Path, upstream: Server) -> None:
    """Over mTLS: listeners, clusters, routes and the tier's key arrive, a request is answered with them."""
    async with xds_server(Address(), authority=Authority(tmp_path / "pki")) as xds:
        xds.keys[KEY.resource] = b"sesame"
        xds.desire(policy("a", arm(tier(port=upstream.port, api_key=KEY))))
        assert xds.policy("default/a")["reason"] == "NoEnvoy"
        async with envoy(xds, tmp_path):
            assert await served(xds, "a.example.com", "strong")
            assert upstream.received[0].headers["Authorization"] == "Bearer sesame"
            await until(lambda: xds.programmed("default/a"))
            assert xds.policy("default/a")["reason"] == "Acknowledged"


async def test_a_client_without_our_certificate_gets_nothing(tmp_path: Path) -> None:
    """With a client authority set, an Envoy that shows another's certificate is not served."""
    async with xds_server(Address(), authority=Authority(tmp_path / "pki")) as xds:
        xds.desire(policy("a"))
        stranger = Authority(tmp_path / "stranger")
        async with envoy(xds, tmp_path, configured=False, shows=stranger) as running:

            async def refused_again_and_again() -> bool:
                return await stat(running, "cluster.pointsman-xds.upstream_cx_destroy") >= 2

            await until(refused_again_and_again)
            assert xds.hub.state()["default"]["envoys"] == 0


async def test_a_changed_weight_switches_routes(tmp_path: Path, upstream: Server) -> None:
    """When the other arm gets all of the traffic, its tier answers, and clusters stay as they were."""
    old, new = tier("old", port=upstream.port), tier("new", port=upstream.port)
    async with xds_server(Address()) as xds:
        first, second = arm(old, revision="r1"), arm(new, revision="r2", weight=0)
        xds.desire(policy("a", first, warm=(second,)))
        async with envoy(xds, tmp_path) as running:
            assert await served(xds, "a.example.com", "old")
            updates = await stat(running, "cluster_manager.cds.update_success")
            xds.desire(policy("a", arm(new, revision="r2"), warm=(arm(old, revision="r1", weight=0),)))
            await until(lambda: served(xds, "a.example.com", "new"))
            assert await stat(running, "cluster_manager.cds.update_success") == updates


async def test_a_rotated_key_reaches_the_upstream(tmp_path: Path, upstream: Server) -> None:
    """A Secret's new value is sent by SDS alone."""
    async with xds_server(Address()) as xds:
        xds.keys[KEY.resource] = b"one"
        xds.desire(policy("a", arm(tier(port=upstream.port, api_key=KEY))))
        async with envoy(xds, tmp_path):
            await ask(xds.entry, "a.example.com")
            xds.keys[KEY.resource] = b"two"
            xds.hub.refresh()

            async def rotated() -> bool:
                await ask(xds.entry, "a.example.com")
                return upstream.received[-1].headers["Authorization"] == "Bearer two"

            await until(rotated)


async def test_nothing_is_served_before_the_server_is_open(tmp_path: Path, upstream: Server) -> None:
    """An Envoy that connects before the caches have synced waits, and is served as soon as they have."""
    async with xds_server(Address(), opened=False) as xds, envoy(xds, tmp_path, configured=False) as running:
        await until(lambda: xds.hub.state().get("default", {}).get("envoys"))
        assert "PRE_INITIALIZING" in await admin(running, "/server_info") or "INITIALIZING" in await admin(
            running, "/server_info"
        )
        assert xds.count("pointsman_xds_pushes_total") == 0
        xds.desire(policy("a", arm(tier(port=upstream.port))))
        xds.hub.open()
        await until(lambda: xds.programmed("default/a"))
        assert await served(xds, "a.example.com", "strong")


async def test_a_gateway_without_policies_is_served_too(tmp_path: Path) -> None:
    """An Envoy of a gateway that nobody refers to is ready and answers 404."""
    async with xds_server(Address()) as xds, envoy(xds, tmp_path):

        async def not_found() -> bool:
            return (await ask(xds.entry, "x.example.com")).status_code == 404

        await until(not_found)


async def test_what_is_routed_no_more_is_removed_in_the_end(tmp_path: Path, upstream: Server) -> None:
    """After the lingering time Envoy has neither the old tier's cluster nor its listener."""
    async with xds_server(Address()) as xds:
        xds.desire(policy("a", arm(tier("old", port=upstream.port))))
        async with envoy(xds, tmp_path) as running:
            assert "tier-old" in await admin(running, "/clusters")
            xds.desire(policy("a", arm(tier("new", port=upstream.port))))
            await until(lambda: served(xds, "a.example.com", "new"))

            async def gone() -> bool:
                pages = (
                    await admin(running, "/clusters"),
                    await admin(running, "/config_dump?resource=dynamic_listeners"),
                )
                return all("tier-old" not in page for page in pages)

            await until(gone)
