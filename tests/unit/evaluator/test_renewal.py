"""Certificates that are renewed while the evaluator runs: by its servers and by its client."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509

from pointsman.evaluator.tls import Renewed, TLSFiles, server_context
from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, free_port


@dataclass
class Mount:
    """A mounted certificate Secret."""

    folder: Path

    @property
    def files(self) -> TLSFiles:
        """Its files."""
        return TLSFiles(self.folder / "tls.crt", self.folder / "tls.key", self.folder / "ca.crt")

    def write(self, signer: Authority, *trusted: Authority) -> None:
        """Put a new certificate and these authorities there."""
        pair = signer.leaf("leaf", "pointsman:test", hosts=[LOCALHOST, "localhost"])
        self.folder.mkdir(exist_ok=True)
        shutil.copy(pair.cert, self.folder / "tls.crt")
        shutil.copy(pair.key, self.folder / "tls.key")
        bundle = b"".join(authority.pair.cert.read_bytes() for authority in trusted)
        (self.folder / "ca.crt").write_bytes(bundle)


@asynccontextmanager
async def served(context: ssl.SSLContext) -> AsyncIterator[str]:
    """Serve 200 for everything; yield the URL."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOCALHOST, port, ssl_context=context).start()
    try:
        yield f"https://{LOCALHOST}:{port}/"
    finally:
        await runner.cleanup()


async def asked(url: str, context: ssl.SSLContext) -> int:
    """Ask on a connection of its own; return the certificate's serial number, 0 if it was refused."""
    try:
        reader, writer = await asyncio.open_connection(LOCALHOST, int(url.split(":")[2][:-1]), ssl=context)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
    except OSError:  # TLS 1.3 tells a client only at its first read that it is refused
        return 0
    if not answer.startswith(b"HTTP/1.1 200"):
        return 0
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Authority, Authority]:
    """Return the old authority and the new one."""
    return Authority(tmp_path / "old"), Authority(tmp_path / "new")


async def test_a_server_goes_by_the_files_as_they_are(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    """A rotation step by step: both authorities trusted, then the new leaf, then the old one is out."""
    old, new = authorities
    server, before, after = (Mount(tmp_path / name) for name in ("server", "before", "after"))
    server.write(old, old)
    before.write(old, old, new)
    after.write(new, old, new)
    async with served(server_context(server.files)) as url:
        first = await asked(url, before.files.client_context())
        assert first
        assert await asked(url, after.files.client_context()) == 0
        server.write(new, old, new)
        second = await asked(url, before.files.client_context())
        assert second not in {0, first}
        assert await asked(url, after.files.client_context()) == second
        server.write(new, new)
        assert await asked(url, before.files.client_context()) == 0
        assert await asked(url, after.files.client_context())


async def test_a_server_never_takes_who_shows_nothing(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    """Neither at first nor after a renewal."""
    mount = Mount(tmp_path / "server")
    mount.write(authorities[0], *authorities)
    nobody = ssl.create_default_context(cafile=str(mount.files.client_ca))
    async with served(server_context(mount.files)) as url:
        assert await asked(url, nobody) == 0
        mount.write(authorities[1], *authorities)
        assert await asked(url, nobody) == 0


async def test_half_written_files_leave_what_there_was(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    """A key that does not fit, or a file that is away, changes nothing; the next whole set does."""
    mount, client = Mount(tmp_path / "server"), Mount(tmp_path / "client")
    for one in (mount, client):
        one.write(authorities[0], *authorities)
    async with served(server_context(mount.files)) as url:
        first = await asked(url, client.files.client_context())
        other = authorities[1].leaf("other", "other")
        shutil.copy(other.key, mount.files.key)
        assert await asked(url, client.files.client_context()) == first
        mount.files.key.unlink()
        assert await asked(url, client.files.client_context()) == first
        mount.write(authorities[1], *authorities)
        assert await asked(url, client.files.client_context()) not in {0, first}


def test_a_client_gets_another_context_with_new_files(
    tmp_path: Path, authorities: tuple[Authority, Authority]
) -> None:
    """The same object until then: connections are kept by it."""
    mount = Mount(tmp_path / "client")
    mount.write(authorities[0], authorities[0])
    renewed = Renewed(mount.files, TLSFiles.client_context)
    first = renewed.get()
    assert renewed.get() is first
    mount.write(authorities[1], authorities[1])
    second = renewed.get()
    assert second is not first
    assert renewed.get() is second
    with pytest.raises(FileNotFoundError):
        Renewed(Mount(tmp_path / "nowhere").files, TLSFiles.client_context)
