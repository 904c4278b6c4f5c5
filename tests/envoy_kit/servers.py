"""Servers around Envoy: an upstream, a scripted classifier, a capture sink. They keep what they got."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Handler = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as a server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Server:
    """An HTTP server on a free port whose behaviour a test sets; `reset` forgets requests and behaviour."""

    usual: Handler
    answer: Handler = field(init=False)
    received: list[Received] = field(default_factory=list)
    port: int = 0
    _runner: web.AppRunner | None = None

    def __post_init__(self) -> None:
        self.answer = self.usual

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port again after a `stop`."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def reset(self) -> None:
        """Forget what was received and how to answer."""
        self.received.clear()
        self.answer = self.usual

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.received.append(Received(request.method, request.path_qs, dict(request.headers), body))
        return await self.answer(request, body)


def chat_answer(
    model: str, content: str | None = "Hello.", **message: object
) -> Callable[[web.Request, bytes], Awaitable[web.Response]]:
    """Return a handler that gives one chat completion."""
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content} | message,
        "finish_reason": "stop",
    }
    answer = {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}

    async def handle(request: web.Request, body: bytes) -> web.Response:
        return web.json_response(answer)

    return handle


def status_answer(
    status: int, body: bytes = b"no"
) -> Callable[[web.Request, bytes], Awaitable[web.Response]]:
    """Return a handler that gives a bare status."""

    async def handle(request: web.Request, got: bytes) -> web.Response:
        return web.Response(status=status, body=body)

    return handle


def stream_answer(
    chunks: Sequence[bytes], pause_s: float = 0.0, gate: asyncio.Event | None = None
) -> Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]:
    """Return a handler that streams events; after the first it waits for `gate`, if there is one."""

    async def handle(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for i, chunk in enumerate(chunks):
            await response.write(chunk)
            if i == 0 and gate is not None:
                await gate.wait()
            if pause_s:
                await asyncio.sleep(pause_s)
        return response

    return handle


def slow(seconds: float, then: Handler) -> Handler:
    """Return a handler that waits first."""

    async def handle(request: web.Request, body: bytes) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await then(request, body)

    return handle


def classifier_answer(scores: Sequence[float], intent: str = "other") -> Handler:
    """Return a handler that answers as Triton answers a raw request: JSON header, then the binary tensors."""
    score = struct.pack(f"<{len(scores)}f", *scores)
    text = intent.encode()
    label = struct.pack("<I", len(text)) + text
    outputs = [
        _output("intent", "BYTES", [1, 1], label),
        _output("score", "FP32", [1, len(scores)], score),
    ]
    head = json.dumps(
        {"model_name": "m", "model_version": "1", "outputs": outputs}, separators=(",", ":")
    ).encode()

    async def handle(request: web.Request, body: bytes) -> web.Response:
        return web.Response(
            body=head + label + score,
            headers={
                "content-type": "application/octet-stream",
                "Inference-Header-Content-Length": str(len(head)),
            },
        )

    return handle


def _output(name: str, datatype: str, shape: list[int], data: bytes) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
