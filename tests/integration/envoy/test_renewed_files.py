"""Certificates in files that are renewed under a running Envoy and a running server: both take them in."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from envoy_kit.servers import Server, chat_answer
from mounted import Mounted
from plans import arm, policy, tier
from pointsman.lab.pki import Authority
from pointsman.lab.process import free_port
from pointsman.tls import grpc_credentials
from pointsman.xds.bootstrap import Renewal, ShadowListener, Tls, sds_files
from pointsman.xds.server import server
from wait import until
from xds_kit import Address, ask, envoy, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointsman.lab.pki import Pair

pytestmark = pytest.mark.envoy

XDS, EVALUATOR = "localhost", "pointsman-evaluator.pointsman-system.svc"


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    """Return a running upstream."""
    running = Server(chat_answer("m"))
    await running.start()
    yield running
    await running.stop()


@dataclass
class Peer:
    """Who calls Envoy's shadow listener: the evaluator, by its own certificate."""

    address: str
    context: ssl.SSLContext

    async def serial(self) -> int:
        """Ask for something over a new connection; return the serial of the certificate that was shown."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(
            host, int(port), ssl=self.context, server_hostname="envoy"
        )
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 404"), answer[:100]
        return x509.load_der_x509_certificate(shown).serial_number


def peer(address: str, pair: Pair, *authorities: Path) -> Peer:
    """Return the evaluator, which trusts these authorities."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in authorities:
        context.load_verify_locations(path)
    context.load_cert_chain(pair.cert, pair.key)
    return Peer(address, context)


def serial(pair: Pair) -> int:
    """Return the serial of a certificate."""
    return x509.load_pem_x509_certificate(pair.cert.read_bytes()).serial_number


def renewing(mounted: Mounted, folder: Path, name: str) -> Tls:
    """Return TLS by the mounted files, with what Envoy needs to watch them written to `folder`."""
    at = mounted.folder
    tls = Tls(
        str(at / "ca.crt"), str(at / "tls.crt"), str(at / "tls.key"), name, Renewal(str(at), str(folder))
    )
    for file, content in sds_files(tls).items():
        (folder / file).write_text(json.dumps(content))
    return tls


async def test_envoy_shows_a_renewed_certificate_and_trusts_a_renewed_authority(
    tmp_path: Path, upstream: Server
) -> None:
    """Leaf and authority are swapped as kubelet does, under traffic: no request fails, and both are used.

    The next xds server has a certificate of the new authority alone and takes none of the old one.
    """
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    first, second = old.leaf("envoy", "envoy", hosts=["envoy"]), new.leaf("envoy", "envoy", hosts=["envoy"])
    mounted = Mounted(tmp_path / "tls")
    mounted.put(first, old.pair.cert)
    folder = tmp_path / "sds"
    folder.mkdir()
    tls, shadow_tls = renewing(mounted, folder, XDS), renewing(mounted, folder, EVALUATOR)
    shadow = f"127.0.0.1:{free_port()}"
    client = old.leaf("evaluator", "evaluator", hosts=[EVALUATOR])
    evaluator = peer(shadow, client, old.pair.cert, new.pair.cert)
    at = Address()
    plan = policy("a", arm(tier(port=upstream.port)))
    async with xds_server(at, authority=old) as xds:
        xds.desire(plan)
        running = envoy(xds, tmp_path, tls=tls, shadow=ShadowListener(shadow, shadow_tls))
        async with running, load(xds.entry, evaluator) as seen:
            await until(lambda: xds.programmed("default/a"))
            assert await evaluator.serial() == serial(first)
            mounted.put(second, old.pair.cert, new.pair.cert)
            await until(lambda: seen and seen[-1][1] == serial(second))
            await xds.running.stop(0)
            async with xds_server(at, authority=new) as after:
                after.desire(plan)
                await until(lambda: after.programmed("default/a"), 30)
            assert {code for code, _ in seen} == {200}
            assert {number for _, number in seen} == {serial(first), serial(second)}


async def test_the_server_takes_renewed_files_and_authority_in(tmp_path: Path) -> None:
    """The next Envoy, whose certificate is the new authority's, is served by the same running server."""
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    mounted = Mounted(tmp_path / "server")
    mounted.put(old.leaf("xds", "xds", hosts=[XDS]), old.pair.cert)
    at = mounted.folder
    async with xds_server(Address()) as xds:
        address = f"127.0.0.1:{free_port()}"
        secure = server(xds.hub, address, grpc_credentials(at / "tls.crt", at / "tls.key", at / "ca.crt"))
        await secure.start()
        try:
            for name, authority in (("first", old), ("second", new)):
                mounted.put(authority.leaf("xds", "xds", hosts=[XDS]), authority.pair.cert)
                pair = authority.leaf(name, "envoy")
                tls = Tls(str(authority.pair.cert), str(pair.cert), str(pair.key), XDS)
                async with envoy(xds, tmp_path, name=name, tls=tls, xds_addresses=[address]):
                    assert (await ask(xds.entry, "nobody.example.com")).status_code == 404
        finally:
            await secure.stop(0)


@asynccontextmanager
async def load(entry: str, evaluator: Peer) -> AsyncIterator[list[tuple[int, int]]]:
    """Ask the entry and the shadow listener all the time; yield (status, serial) of each round."""
    seen: list[tuple[int, int]] = []
    over: list[bool] = []

    async def served() -> bool:
        return (await ask(entry, "a.example.com")).status_code == 200

    async def work() -> None:
        while not over:
            code = (await ask(entry, "a.example.com")).status_code
            seen.append((code, await evaluator.serial()))

    await until(served)
    task = asyncio.create_task(work())
    try:
        yield seen
    finally:
        over.append(True)
        await task
