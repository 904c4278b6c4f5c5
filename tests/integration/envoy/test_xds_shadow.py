"""The shadow listener over ADS: for the evaluator's certificate alone, and no policy's fault stops others."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from envoy_kit.servers import Server, chat_answer
from plans import arm, policy, tier
from pointsman.contract import Header
from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.xds.bootstrap import ShadowListener, Tls
from wait import until
from xds_kit import Address, ask, envoy, stat, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointsman.lab.pki import Pair

pytestmark = pytest.mark.envoy

EVALUATOR = "pointsman-evaluator"
NO_PORT = 70_000


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    """Return a running upstream."""
    server = Server(chat_answer("m"))
    await server.start()
    yield server
    await server.stop()


async def replay(
    address: str, target: str, authority: Authority | None = None, shows: Pair | None = None
) -> httpx.Response:
    """Send one request to a shadow listener, by TLS if an authority is given."""
    context: ssl.SSLContext | bool = True
    if authority is not None:
        context = ssl.create_default_context(cafile=str(authority.pair.cert))
        if shows is not None:
            context.load_cert_chain(shows.cert, shows.key)
    url = f"{'http' if authority is None else 'https'}://{address}/v1/chat/completions"
    async with httpx.AsyncClient(timeout=5, verify=context) as http:
        return await http.post(url, headers={str(Header.SHADOW): target}, json={"model": "auto"})


async def test_only_the_evaluators_certificate_opens_it(tmp_path: Path, upstream: Server) -> None:
    """Without a certificate, or with that of another of our processes, no request gets as far as HTTP."""
    authority = Authority(tmp_path / "pki")
    own = authority.leaf("shadow", "pointsman:envoy", hosts=["127.0.0.1"])
    shadow = ShadowListener(
        f"{LOCALHOST}:{free_port()}",
        Tls(str(authority.pair.cert), str(own.cert), str(own.key), EVALUATOR),
    )
    evaluator = authority.leaf("evaluator", "pointsman:evaluator", hosts=[EVALUATOR])
    async with xds_server(Address(), authority=authority) as xds:
        xds.desire(policy("a", arm(tier(port=upstream.port))))
        async with envoy(xds, tmp_path, shadow=shadow):
            await until(lambda: xds.programmed("default/a"))
            target = "default/a/r1/strong"
            assert (await replay(shadow.address, target, authority, evaluator)).status_code == 200
            for stranger in (None, own):
                with pytest.raises(
                    (httpx.TransportError, ssl.SSLError)
                ):  # the alert may come after the request
                    await replay(shadow.address, target, authority, stranger)
            assert len(upstream.received) == 1


async def test_a_candidate_is_reached_before_it_has_traffic(tmp_path: Path, upstream: Server) -> None:
    """A warm arm that is added is asked by its own name; once it is gone, nobody answers for it."""
    shadow = ShadowListener(f"{LOCALHOST}:{free_port()}")
    stable = arm(tier("strong", port=upstream.port))
    candidate = arm(tier("strong", port=upstream.port, model="larger"), revision="r2", weight=0)
    async with xds_server(Address()) as xds:
        xds.desire(policy("a", stable))
        async with envoy(xds, tmp_path, shadow=shadow) as running:
            await until(lambda: xds.programmed("default/a"))
            assert (await replay(shadow.address, "default/a/r2/strong")).status_code == 404
            xds.desire(policy("a", stable, warm=(candidate,)))
            await until(lambda: xds.programmed("default/a"))
            assert (await replay(shadow.address, "default/a/r2/strong")).status_code == 200
            assert b'"larger"' in upstream.received[-1].body
            xds.desire(policy("a", stable))
            await until(lambda: xds.programmed("default/a"))
            assert (await replay(shadow.address, "default/a/r2/strong")).status_code == 404
            assert (await replay(shadow.address, "default/a/r1/strong")).status_code == 200
            assert await stat(running, "http.shadow.downstream_rq_total") == 4


async def test_a_refused_policy_takes_nobody_elses_shadow(tmp_path: Path, upstream: Server) -> None:
    """One policy's plan is refused: the others are replayed and served, an Envoy without the listener too."""
    shadow = ShadowListener(f"{LOCALHOST}:{free_port()}")
    good, bad = policy("a", arm(tier(port=upstream.port))), policy("bad", arm(tier(port=NO_PORT)))
    broken_host = policy("host", arm(tier(port=upstream.port)), hostname="a\nb.example.com")
    async with xds_server(Address()) as xds:
        xds.desire(good, bad, broken_host)
        async with envoy(xds, tmp_path, shadow=shadow):
            await until(lambda: xds.programmed("default/a") and not xds.programmed("default/bad"))
            await until(lambda: xds.policy("default/host")["reason"] == "Quarantined")
            await until(lambda: xds.policy("default/bad")["reason"] == "Quarantined")
            assert (await replay(shadow.address, "default/a/r1/strong")).status_code == 200
            assert (await replay(shadow.address, "default/bad/r1/strong")).status_code == 404
            assert (await ask(xds.entry, "a.example.com")).status_code == 200


async def test_a_restarted_server_finds_it_as_it_was(tmp_path: Path, upstream: Server) -> None:
    """While no server runs, replays go on; the next one sends an Envoy that has all nothing anew."""
    at, shadow = Address(), ShadowListener(f"{LOCALHOST}:{free_port()}")
    plan = policy("a", arm(tier(port=upstream.port)))
    async with xds_server(at) as xds:
        xds.desire(plan)
        running = envoy(xds, tmp_path, shadow=shadow)
        await running.__aenter__()
        await until(lambda: xds.programmed("default/a"))
    try:
        assert (await replay(shadow.address, "default/a/r1/strong")).status_code == 200
        async with xds_server(at) as xds:
            xds.desire(plan)
            await until(lambda: xds.programmed("default/a"), 20)
            assert xds.count("pointsman_xds_pushes_total", type="route") == 0
            assert (await replay(shadow.address, "default/a/r1/strong")).status_code == 200
    finally:
        await running.__aexit__(None, None, None)
