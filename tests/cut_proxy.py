"""Between one operator and the API server: counts the writes, and kills the operator at one of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import ssl
import tempfile
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

from pointsman.lab.process import LOCALHOST, free_port

Moment = Literal["before", "after"]
"""The API server never hears of the write; or it has done it, and the operator does not hear of that."""

_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive", "te", "upgrade"}


def identity(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """Return the API server's URL and a TLS context with the kubeconfig's certificate."""
    config = json.loads(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(
        cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
    )
    with tempfile.NamedTemporaryFile() as pair:
        for part in ("client-certificate-data", "client-key-data"):
            pair.write(base64.b64decode(user[part]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return str(cluster["server"]), context


class CutProxy:
    """An async context manager; `kubeconfig` leads through it, with the rights of the given one."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._server, self._tls = identity(kubeconfig)
        self._port = free_port()
        self.kubeconfig = folder / f"proxy-{self._port}.kubeconfig"
        self.pid = 0
        """The operator that is killed."""
        self.writes: list[str] = []
        """Every write to an object of ours, those that were cut off, too."""
        self.cut: tuple[int, Moment] | None = None
        """At which write (from 1) to kill it."""
        self.killed = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        url = f"http://{LOCALHOST}:{self._port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {"server": url}}],
            "users": [{"name": "operator", "user": {}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "operator"}}],
            "current-context": "lab",
        }
        self.kubeconfig.write_text(json.dumps(config), encoding="utf-8")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOCALHOST, self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        ours = request.method != "GET" and "/pointsman.dev/" in request.path
        cut: Moment | None = None
        if ours:
            if self.killed.is_set() and self.cut is not None and len(self.writes) == self.cut[0]:
                raise web.HTTPServiceUnavailable  # a write that was on its way when the process died
            self.writes.append(f"{request.method} {request.path}")
            if self.cut is not None and len(self.writes) == self.cut[0]:
                cut = self.cut[1]
        if cut == "before":
            self._kill()
            raise web.HTTPServiceUnavailable
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        await self.on_request(request, body, ours=ours)
        async with self._session.request(
            request.method, self._server + request.raw_path, data=body or None, headers=headers
        ) as upstream:
            self.on_answer(request, upstream.status, ours=ours)
            if cut == "after":
                await upstream.read()
                self._kill()
                raise web.HTTPServiceUnavailable
            kept = {k: v for k, v in upstream.headers.items() if k.lower() not in _HOP}
            response = web.StreamResponse(status=upstream.status, headers=kept)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await self.on_chunk()
                    await response.write(chunk)
                await response.write_eof()
            return response

    async def on_request(self, request: web.Request, body: bytes, *, ours: bool) -> None:
        """Hear of a request before it goes to the API server; `ours`: it writes an object of ours."""

    def on_answer(self, request: web.Request, status: int, *, ours: bool) -> None:
        """Hear of the API server's answer before the operator does."""

    async def on_chunk(self) -> None:
        """Hear of a piece of an answer before the operator does."""

    def _kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.killed.set()


def normal(value: Any, dropped: frozenset[str]) -> Any:
    """Return JSON without some keys, at any depth: to compare two worlds but for times and numbers."""
    if isinstance(value, dict):
        return {key: normal(item, dropped) for key, item in sorted(value.items()) if key not in dropped}
    return [normal(item, dropped) for item in value] if isinstance(value, list) else value
