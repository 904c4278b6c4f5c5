"""A replay tier: an OpenAI-compatible server that gives a real model's recorded answers."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pointsman.clock import Clock, system_clock
from pointsman.lab import replay
from pointsman.lab.replay import Answer, Faults, Latency
from pointsman.lab.tier_ledger import CLIENT_LEFT, Entry, Ledger

_LOG = logging.getLogger(__name__)
_MAX_BODY: Final = 64 * 1024 * 1024
_MARKS: Final = {"x-replay-latency": "synthetic"}
_GARBAGE: Final = Answer("\x00\x17 this is no answer {", 0, 0, recorded=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a tier plays."""

    model: str
    latency: Latency
    api_key: str | None = None
    """If set, every /v1 request must carry it as its bearer token."""


class _Failed(Exception):  # noqa: N818 - control flow within this file
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.response = web.json_response(replay.error(status, message, code), status=status, headers=_MARKS)


class Tier:
    """The server's handlers. `records`: answer by the exact text of the last user turn."""

    def __init__(
        self,
        settings: Settings,
        records: Mapping[str, Answer],
        registry: CollectorRegistry,
        clock: Clock = system_clock,
    ) -> None:
        self._settings = settings
        self._records = records
        self._registry = registry
        self._clock = clock
        self._faults: Faults | None = None
        self._served = 0
        self._ledger = Ledger()
        self._requests = Counter(
            "pointsman_tier_requests", "Requests answered.", ["model", "code", "streamed"], registry=registry
        )
        self._tokens = Counter(
            "pointsman_tier_tokens", "Tokens of answers.", ["model", "kind"], registry=registry
        )
        self._struck = Counter("pointsman_tier_faults", "Injected faults.", ["model"], registry=registry)
        self._unknown = Counter(
            "pointsman_tier_unknown_prompts",
            "Requests without a recorded answer.",
            ["model"],
            registry=registry,
        )

    def app(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._complete),
                web.get("/v1/models", self._models),
                web.get("/faults", self._get_faults),
                web.put("/faults", self._put_faults),
                web.delete("/faults", self._delete_faults),
                web.get("/ledger", self._get_ledger),
                web.delete("/ledger", self._delete_ledger),
                web.get("/healthz", _healthz),
                web.get("/metrics", self._metrics),
            ]
        )
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, chat=True)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, chat=False)

    async def _counted(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        try:
            response = await self._answer(request, chat=chat)
        except _Failed as failed:
            response = failed.response
        except asyncio.CancelledError:
            self._ledger.add(Entry.of(request.headers, CLIENT_LEFT))
            raise
        self._ledger.add(Entry.of(request.headers, response.status))
        streamed = str(response.content_type == "text/event-stream").lower()
        self._requests.labels(self._settings.model, str(response.status), streamed).inc()
        return response

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        self._authorize(request)
        try:
            asked, prompt = replay.question(await request.read(), chat=chat)
        except replay.BadRequestError as error:
            raise _Failed(400, str(error)) from None
        if asked["model"] != self._settings.model:
            message = (
                f"The model `{asked['model']}` does not exist; this tier serves `{self._settings.model}`."
            )
            raise _Failed(404, message, "model_not_found")
        answer = replay.look_up(self._records, self._settings.model, prompt)
        if not answer.recorded:
            self._unknown.labels(self._settings.model).inc()
        answer = await self._strike(answer)
        if answer is _GARBAGE:
            return web.Response(body=answer.text.encode(), content_type="application/octet-stream")
        self._tokens.labels(self._settings.model, "prompt").inc(answer.prompt_tokens)
        self._tokens.labels(self._settings.model, "completion").inc(answer.completion_tokens)
        first, rest = self._settings.latency.of(prompt, answer)
        self._served += 1
        identity = {
            "id": f"chatcmpl-replay-{self._served}",
            "created": int(self._clock().timestamp()),
            "model": self._settings.model,
        }
        marks = {**_MARKS, "x-replay-answer": "recorded" if answer.recorded else "echo"}
        await asyncio.sleep(first)
        if asked.get("stream") is True:
            events = _events(identity, answer, chat=chat, usage=replay.wants_usage(asked))
            return await _stream(request, events, marks, rest)
        await asyncio.sleep(rest)
        return web.json_response(replay.completion(identity, answer, chat=chat), headers=marks)

    def _authorize(self, request: web.Request) -> None:
        if self._settings.api_key is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._settings.api_key}".encode()):
            raise _Failed(401, "Incorrect API key provided.", "invalid_api_key")

    async def _strike(self, answer: Answer) -> Answer:
        faults = self._faults
        if faults is None or not faults.strikes():
            return answer
        self._struck.labels(self._settings.model).inc()
        await asyncio.sleep(faults.delay_ms / 1000)
        if faults.status:
            raise _Failed(faults.status, f"Injected fault: {faults.status}.", "injected")
        if faults.garbage:
            return _GARBAGE
        return Answer("", answer.prompt_tokens, 0, answer.recorded) if faults.empty else answer

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._authorize(request)
        except _Failed as failed:
            return failed.response
        model = {"id": self._settings.model, "object": "model", "created": 0, "owned_by": "replay"}
        return web.json_response({"object": "list", "data": [model]})

    async def _get_faults(self, _: web.Request) -> web.Response:
        return web.json_response(self._shown())

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self._faults = Faults.from_json(json.loads(await request.read()))
        except ValueError as error:  # also json's
            return web.json_response(replay.error(400, str(error)), status=400)
        _LOG.info("faults injected", extra={"faults": self._shown()})
        return web.json_response(self._shown())

    async def _delete_faults(self, _: web.Request) -> web.Response:
        self._faults = None
        _LOG.info("faults removed")
        return web.json_response({})

    def _shown(self) -> dict[str, Any]:
        if self._faults is None:
            return {}
        return {key: value for key, value in asdict(self._faults).items() if not key.startswith("_")}

    async def _get_ledger(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return web.json_response(
                replay.error(400, "after: say how many entries to leave out"), status=400
            )
        shown = self._ledger.shown(with_entries="count" not in request.query, after=int(after))
        return web.json_response(shown)

    async def _delete_ledger(self, _: web.Request) -> web.Response:
        self._ledger.clear()
        return web.json_response({})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST}
        )


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _events(identity: Mapping[str, Any], answer: Answer, *, chat: bool, usage: bool) -> list[bytes]:
    pieces = answer.pieces() or [""]
    events = [replay.chunk(identity, piece, chat=chat, first=i == 0) for i, piece in enumerate(pieces)]
    events.append(replay.chunk(identity, None, chat=chat))
    if usage:
        for event in events:
            event["usage"] = None
        events.append({**events[-1], "choices": [], "usage": answer.usage()})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


async def _stream(
    request: web.Request, events: list[bytes], marks: Mapping[str, str], seconds: float
) -> web.StreamResponse:
    """Send the events spread evenly over `seconds`; a client that hung up ends it."""
    response = web.StreamResponse(
        headers={**marks, "content-type": "text/event-stream", "cache-control": "no-cache"}
    )
    await response.prepare(request)
    try:
        for event in events:
            await response.write(event)
            if seconds:
                await asyncio.sleep(seconds / len(events))
        await response.write_eof()
    except ConnectionError:
        _LOG.debug("the client hung up")
    return response
