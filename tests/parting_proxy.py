"""Between one operator and the API server: parts the two, or freezes the operator, at one of its writes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web

from cut_proxy import CutProxy, identity

Fault = Literal["frozen", "parted"]


@dataclass(frozen=True)
class Answer:
    """What the API server said to a write of ours."""

    at: float
    """Monotonic time."""
    what: str
    status: int

    @property
    def taken(self) -> bool:
        """Tell whether it was done."""
        return self.status < 300


class PartingProxy(CutProxy):
    """Frozen: stopped after the n-th write, before its answer. Parted: all from that write on is held."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        super().__init__(kubeconfig, folder)
        self._url, self._context = identity(kubeconfig)
        self.strike: tuple[Fault, int] | None = None
        """What to do, and at which write (from 1)."""
        self.struck = asyncio.Event()
        self.answers: list[Answer] = []
        """To the writes that reached the API server."""
        self._parted = False
        self._held: list[tuple[str, str, bytes, str]] = []

    async def on_request(self, request: web.Request, body: bytes, *, ours: bool) -> None:
        """Hold it, if the two are parted now."""
        if ours and self.strike == ("parted", len(self.writes)):
            self._parted = True
            self.struck.set()
        if self._parted and ours:
            self._held.append((request.method, request.raw_path, body, request.headers["Content-Type"]))
        await self.on_chunk()

    def on_answer(self, request: web.Request, status: int, *, ours: bool) -> None:
        """Note what was done; freeze the operator before it hears of it."""
        if not ours:
            return
        self.answers.append(Answer(time.monotonic(), f"{request.method} {request.path}", status))
        if self.strike == ("frozen", len(self.writes)):
            os.kill(self.pid, signal.SIGSTOP)
            self.struck.set()

    async def on_chunk(self) -> None:
        """Say nothing any more, once the two are parted."""
        if self._parted:
            await asyncio.Event().wait()

    async def deliver(self) -> None:
        """Bring the writes that were held to the API server, as a network may do that heals."""
        connector = aiohttp.TCPConnector(ssl=self._context)
        async with aiohttp.ClientSession(connector=connector) as session:
            for method, path, body, kind in self._held:
                async with session.request(
                    method, self._url + path, data=body or None, headers={"Content-Type": kind}
                ) as answer:
                    self.answers.append(Answer(time.monotonic(), f"late {method} {path}", answer.status))
        self._held.clear()
