"""Asking classifiers: another replica after a failure, one question for one body, within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

import bundles as small
from envoy_kit.servers import Server, classifier_answer, status_answer
from pointsman.evaluator import classify
from pointsman.evaluator.classify import Answer, ClassifierError, Classifiers, NonsenseError
from pointsman.triton.client import TritonClient, TritonMetrics
from pointsman.triton.reply import HEAD_SIZE
from triton_kit import Server as Triton

BODY = b'{"model":"auto","messages":[{"role":"user","content":"Why?"}]}'
GOOD = Answer((0.25, 1.0), "law")


@asynccontextmanager
async def servers(*answers: Callable[..., object]) -> AsyncIterator[list[Server]]:
    """Run one server an answer."""
    running = [Server(answer) for answer in answers]  # type: ignore[arg-type]  # any handler
    for server in running:
        await server.start()
    try:
        yield running
    finally:
        for server in running:
            await server.stop()


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[Classifiers, CollectorRegistry]]:
    """Return a client with its metrics."""
    registry = CollectorRegistry()
    classifiers = Classifiers(registry)
    try:
        yield classifiers, registry
    finally:
        await classifiers.close()


def urls(*running: Server) -> list[str]:
    """Return base URLs."""
    return [f"http://{server.address}" for server in running]


async def test_the_body_is_sent_as_it_is() -> None:
    """As Envoy sends it: bare, with the header that says so; scores and intent come back as they are."""
    async with servers(classifier_answer([0.25, 1.0], "law")) as [triton], asking() as (classifiers, _):
        assert await classifiers.ask(urls(triton), "pm-1", BODY) == GOOD
    (received,) = triton.received
    assert (received.path, received.body) == ("/v2/models/pm-1/infer", BODY)
    assert received.headers[HEAD_SIZE] == "0"


async def test_a_body_is_asked_about_once_by_model() -> None:
    """The same body is remembered, for each model by itself."""
    async with servers(classifier_answer([0.25, 1.0], "law")) as [triton], asking() as (classifiers, metrics):
        for model in ("pm-1", "pm-1", "pm-2"):
            assert await classifiers.ask(urls(triton), model, BODY) == GOOD
    assert len(triton.received) == 2
    name = "pointsman_evaluator_classifier_questions_total"
    assert metrics.get_sample_value(name, {"outcome": "remembered"}) == 1


async def test_the_other_replica_answers_for_a_broken_one() -> None:
    """One attempt each: whichever comes first, the answer is had."""
    async with (
        servers(classifier_answer([0.25, 1.0], "law"), status_answer(503, b'{"error":"full"}')) as running,
        asking() as (classifiers, _),
    ):
        for number in range(4):
            assert await classifiers.ask(urls(*running), "pm-1", BODY + b" " * number) == GOOD


async def test_two_refusals_are_an_error_with_tritons_words() -> None:
    """The text says what Triton said, and holds nothing of the body."""
    async with servers(status_answer(400, b'{"error":"unknown model"}')) as [triton], asking() as (found, _):
        with pytest.raises(ClassifierError, match="unknown model"):
            await found.ask(urls(triton), "pm-1", BODY)
    assert len(triton.received) == 2


async def test_nonsense_is_told_from_silence() -> None:
    """A model that answers something else is what Envoy would fail open on: that is known, not unknown."""
    async with servers(status_answer(200, b"scores!")) as [triton], asking() as (classifiers, _):
        with pytest.raises(NonsenseError):
            await classifiers.ask(urls(triton), "pm-1", BODY)


async def test_nobody_waits_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs is given up, with both attempts within the deadline."""
    monkeypatch.setattr(classify, "DEADLINE_S", 0.2)
    monkeypatch.setattr(classify, "FIRST_S", 0.1)
    forever = asyncio.Event()

    async def hang(request: web.Request, body: bytes) -> web.Response:
        await forever.wait()
        return web.Response()

    async with servers(hang) as [triton], asking() as (classifiers, _):
        with pytest.raises(ClassifierError, match="no answer within"):
            await classifiers.ask(urls(triton), "pm-1", BODY)
        forever.set()


async def test_without_a_server_there_is_an_error() -> None:
    """Refused connections, and no address at all."""
    async with asking() as (classifiers, _):
        with pytest.raises(ClassifierError, match="refused"):
            await classifiers.ask(["http://127.0.0.1:9"], "pm-1", BODY)
        with pytest.raises(ClassifierError, match="no Triton"):
            await classifiers.ask([], "pm-1", BODY)


@pytest.mark.triton
async def test_a_real_triton_says_the_same_as_to_its_own_client(server: Triton) -> None:
    """The raw form and tritonclient's give the same scores and intent."""
    model = server.load(small.file())
    url = str(server.http.base_url)
    async with asking() as (classifiers, registry):
        answer = await classifiers.ask([url], model, BODY)
        client = TritonClient(TritonMetrics(CollectorRegistry()))
        scores, intent = await client.classify(url.rstrip("/"), model, BODY)
        await client.close()
    assert (list(answer.scores), answer.intent) == (scores, intent)
    outcome = {"endpoint": url, "call": "ask", "outcome": "ok"}
    assert registry.get_sample_value("pointsman_triton_calls_total", outcome) == 1
