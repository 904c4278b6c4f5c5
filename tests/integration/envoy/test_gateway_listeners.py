"""Listeners of a RoutingGateway on the real Envoy: several ports, certificates by SNI, renewals."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from cryptography import x509

from envoy_kit.servers import Server, chat_answer
from plans import arm, policy, tier
from pointsman.lab.pki import Authority
from pointsman.lab.process import free_port
from pointsman.plan.types import CertificateName, ListenerPlan
from pointsman.xds.front import pair
from wait import until
from xds_kit import Address, Xds, ask, envoy, stat, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointsman.lab.envoy import Envoy
    from pointsman.lab.pki import Pair as Files
    from pointsman.xds.front import Pair

pytestmark = pytest.mark.envoy

A, B = CertificateName("pointsman-system", "a"), CertificateName("pointsman-system", "b")
HOSTS = {A: "a.example.com", B: "b.example.com"}


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    """Return a running upstream."""
    running = Server(chat_answer("m"))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def xds(upstream: Server) -> AsyncIterator[Xds]:
    """Run an xds server with a policy for two hosts."""
    async with xds_server(Address()) as running:
        plans = [policy(name, arm(tier(port=upstream.port)), hostname=HOSTS[n]) for n, name in NAMES.items()]
        running.desire(*plans)
        yield running


NAMES = {A: "a", B: "b"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return who signs the listeners' certificates."""
    return Authority(tmp_path / "pki")


def leaf(authority: Authority, name: CertificateName, file: str = "") -> Files:
    """Return a new certificate for a name's host."""
    return authority.leaf(file or name.name, "front", hosts=[HOSTS[name]])


def secret(files: Files) -> Pair:
    """Return a certificate as its Secret's data is read."""
    return pair({"tls.crt": files.cert.read_bytes(), "tls.key": files.key.read_bytes()})


def serial(files: Files) -> int:
    """Return the serial of a certificate."""
    return x509.load_pem_x509_certificate(files.cert.read_bytes()).serial_number


async def shown(
    port: int, host: str, authority: Authority, *protocols: str
) -> tuple[int, str | None, str | None]:
    """Shake hands by SNI; return the serial shown, the protocol agreed on, and the version of TLS."""
    context = ssl.create_default_context(cafile=str(authority.pair.cert))
    context.check_hostname = False
    context.set_alpn_protocols(list(protocols) or ["http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
    connection = writer.get_extra_info("ssl_object")
    number = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True)).serial_number
    found = number, connection.selected_alpn_protocol(), connection.version()
    writer.close()
    return found


@asynccontextmanager
async def load(port: int, host: str, authority: Authority) -> AsyncIterator[list[int]]:
    """Send requests over HTTPS, each over a connection of its own; yield their status codes."""
    context = ssl.create_default_context(cafile=str(authority.pair.cert))
    codes: list[int] = []
    over: list[bool] = []
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}

    async def work() -> None:
        while not over:
            async with httpx.AsyncClient(verify=context, timeout=10) as http:
                url = f"https://127.0.0.1:{port}/v1/chat/completions"
                sent = {"headers": {"host": host}, "extensions": {"sni_hostname": host}}
                codes.append((await http.post(url, json=body, **sent)).status_code)  # type: ignore[arg-type]

    task = asyncio.create_task(work())
    try:
        yield codes
    finally:
        over.append(True)
        await task


async def test_two_certificates_are_chosen_by_sni_and_renewed_under_load(
    xds: Xds, authority: Authority, tmp_path: Path
) -> None:
    """Each host is shown its own certificate, a stranger the first; a renewed one is used, no loss."""
    a, b = leaf(authority, A), leaf(authority, B)
    https, http = ListenerPlan("https", free_port(), (A, B)), ListenerPlan("http", free_port())
    xds.show(https, http, pairs={A: secret(a), B: secret(b)})
    async with envoy(xds, tmp_path) as running:
        await until(lambda: xds.programmed("default/a", "default/b"))
        assert (await shown(https.port, HOSTS[A], authority))[0] == serial(a)
        assert (await shown(https.port, HOSTS[B], authority))[0] == serial(b)
        assert (await shown(https.port, "c.example.com", authority))[0] == serial(a)
        old = serial(b)
        async with load(https.port, HOSTS[B], authority) as codes:
            await until(lambda: len(codes) > 5)
            renewed = leaf(authority, B, "b2")
            xds.show(https, http, pairs={A: secret(a), B: secret(renewed)})

            async def used() -> bool:
                return (await shown(https.port, HOSTS[B], authority))[0] == serial(renewed) != old

            await until(used)
            enough = len(codes) + 5
            await until(lambda: len(codes) > enough)
        assert set(codes) == {200}
        assert (await ask(f"127.0.0.1:{http.port}", HOSTS[A])).status_code == 200
        assert await stat(running, "http.entry.downstream_rq_total") == len(codes) + 1
        assert await stat(running, "listener_manager.lds.update_rejected") == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # of the old client
async def test_https_speaks_http2_and_nothing_older_than_tls_1_2(
    xds: Xds, authority: Authority, tmp_path: Path
) -> None:
    """ALPN offers h2 and http/1.1; a client that knows only TLS 1.1 is refused."""
    listener = ListenerPlan("https", free_port(), (A,))
    xds.show(listener, pairs={A: secret(leaf(authority, A))})
    async with envoy(xds, tmp_path):
        assert (await shown(listener.port, HOSTS[A], authority, "h2", "http/1.1"))[1:] == ("h2", "TLSv1.3")
        assert (await shown(listener.port, HOSTS[A], authority, "http/1.1"))[1] == "http/1.1"
        context = ssl.create_default_context(cafile=str(authority.pair.cert))
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", listener.port, ssl=context, server_hostname=HOSTS[A])


async def test_a_certificate_that_is_not_there_stops_nobody_else(
    xds: Xds, authority: Authority, tmp_path: Path
) -> None:
    """Of two names one Secret is missing, and a listener has none at all: the others serve; later all do."""
    both = ListenerPlan("both", free_port(), (B, A))
    alone, plain = ListenerPlan("alone", free_port(), (B,)), ListenerPlan("plain", free_port())
    a, b = leaf(authority, A), leaf(authority, B)
    xds.show(both, alone, plain, pairs={A: secret(a)})
    async with envoy(xds, tmp_path) as running:
        await until(lambda: xds.programmed("default/a"))
        assert (await shown(both.port, HOSTS[B], authority))[0] == serial(a)
        assert (await ask(f"127.0.0.1:{plain.port}", HOSTS[A])).status_code == 200
        with pytest.raises(ConnectionError):
            await shown(alone.port, HOSTS[B], authority)
        xds.show(both, alone, plain, pairs={A: secret(a), B: secret(b)})
        await until(lambda: opened(alone.port, authority))
        assert (await shown(alone.port, HOSTS[B], authority))[0] == serial(b)
        await until(lambda: chosen(both.port, authority, serial(b)))
        assert await stat(running, "listener_manager.lds.update_rejected") == 0


async def test_listeners_that_change_places_keep_serving(
    xds: Xds, authority: Authority, tmp_path: Path
) -> None:
    """What is bound at a port becomes another listener in place: no port is claimed twice."""
    first, second = free_port(), free_port()
    pairs = {A: secret(leaf(authority, A))}
    xds.show(ListenerPlan("http", first), ListenerPlan("https", second, (A,)), pairs=pairs)
    async with envoy(xds, tmp_path) as running:
        await until(lambda: xds.programmed("default/a"))
        xds.show(ListenerPlan("https", first, (A,)), ListenerPlan("http", second), pairs=pairs)
        await until(lambda: opened(first, authority))
        await until(lambda: serves(f"127.0.0.1:{second}"))
        assert await rejected(running) == 0


async def test_a_port_that_is_taken_blames_no_policy(xds: Xds, tmp_path: Path) -> None:
    """Envoy cannot bind one listener: no policy is quarantined for it, and the state says why."""
    taken = await asyncio.start_server(lambda _r, w: w.close(), "0.0.0.0", 0)
    port = taken.sockets[0].getsockname()[1]
    try:
        xds.show(ListenerPlan("good", free_port()), ListenerPlan("bad", port))
        async with envoy(xds, tmp_path, configured=False):
            await until(lambda: "entry-" in xds.policy("default/a")["message"])
            assert xds.policy("default/a")["reason"] == "Pending"
    finally:
        taken.close()
        await taken.wait_closed()


async def opened(port: int, authority: Authority) -> bool:
    """Tell whether a port takes TLS."""
    try:
        await shown(port, HOSTS[A], authority)
    except (ConnectionError, ssl.SSLError):
        return False
    return True


async def chosen(port: int, authority: Authority, number: int) -> bool:
    """Tell whether a port shows this certificate for the second host."""
    return (await shown(port, HOSTS[B], authority))[0] == number


async def serves(address: str) -> bool:
    """Tell whether an address answers by plain HTTP."""
    try:
        return (await ask(address, HOSTS[A])).status_code == 200
    except httpx.TransportError:
        return False


async def rejected(running: Envoy) -> int:
    """Return how often Envoy refused listeners."""
    return await stat(running, "listener_manager.lds.update_rejected")
