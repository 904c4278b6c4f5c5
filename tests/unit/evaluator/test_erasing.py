"""Who may have a session deleted over HTTP: the role that a certificate names, and nobody else."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from evaluator_builders import capture, known_policies, record
from evaluator_rig import Rig
from pointsman.evaluator.http_api import ERASER, Api
from pointsman.evaluator.record import session_digest
from pointsman.evaluator.tls import TLSFiles, server_context
from pointsman.evaluator.totals import Name, Series
from pointsman.lab.pki import Authority, Pair
from wait import until


class World:
    """An evaluator that holds one text, of session `user/7 é`; and an authority."""

    def __init__(self, folder: Path, base: str, authority: Authority) -> None:
        self.authority = authority
        self._folder = folder
        self._base = base

    async def delete(self, pair: Pair) -> httpx.Response:
        """Ask for the deletion, with a certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.pair.cert))
        context.load_cert_chain(pair.cert, pair.key)
        async with httpx.AsyncClient(base_url=self._base, verify=context, trust_env=False) as client:
            return await client.delete("/v1/sessions/user%2F7%20%C3%A9")


@asynccontextmanager
async def world(rig: Rig, tmp_path: Path) -> AsyncIterator[World]:
    """Run it."""
    authority = Authority(tmp_path / "pki")
    own = authority.leaf("evaluator", "evaluator", hosts=["127.0.0.1"])
    async with rig.writer(known_policies()) as writer:
        writer.offer(record(1, session=session_digest("user/7 é")))
        writer.offer(capture(1))
        await until(lambda: writer.totals.value(Series(Name.ENTRIES, ())) == 1)
        app = web.Application()
        app.add_routes(Api(writer, known_policies(), rig.place, CollectorRegistry(), rig.clock).deletion())
        server = TestServer(app, scheme="https")
        await server.start_server(
            ssl=server_context(TLSFiles(own.cert, own.key, authority.pair.cert)), shutdown_timeout=0.1
        )
        try:
            yield World(tmp_path, str(server.make_url("/")), authority)
        finally:
            await server.close()


async def test_the_role_may(rig: Rig, tmp_path: Path) -> None:
    """A certificate with the role's name: the text goes, the request is linked to nobody."""
    async with world(rig, tmp_path) as here:
        done = await here.delete(here.authority.leaf("eraser", "privacy", hosts=[ERASER]))
        assert done.json() == {"requests": 1, "texts": 1}


@pytest.mark.parametrize("hosts", [["pointsman-gateway-default-internal.pointsman-system.svc"], []])
async def test_another_part_may_not(rig: Rig, tmp_path: Path, hosts: list[str]) -> None:
    """An Envoy's certificate, or one whose common name alone says so: refused, and told what to show."""
    async with world(rig, tmp_path) as here:
        refused = await here.delete(here.authority.leaf("other", ERASER, hosts=hosts))
        assert (refused.status_code, ERASER in refused.text) == (403, True)
        done = await here.delete(here.authority.leaf("eraser", "privacy", hosts=[ERASER]))
        assert done.json()["texts"] == 1


async def test_a_stranger_does_not_get_in(rig: Rig, tmp_path: Path) -> None:
    """The role's name under another authority ends in the handshake."""
    async with world(rig, tmp_path) as here:
        stranger = Authority(tmp_path / "others").leaf("eraser", "privacy", hosts=[ERASER])
        with pytest.raises(httpx.TransportError):
            await here.delete(stranger)
