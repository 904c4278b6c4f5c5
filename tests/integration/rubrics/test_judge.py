"""A judge over real HTTP, which answers with the scores that GPT-4 gave to 224 real answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from pointsman.api.v1alpha1.meta import SecretKeyRef
from pointsman.api.v1alpha1.rubrics import Rubric
from pointsman.evaluator.rubrics import Case, Library, Scored, Unscored, judges, scorers
from pointsman.evaluator.rubrics.budget import Budget
from pointsman.lab.process import free_port
from rubrics import POLICY, case

DATA = Path(__file__).parents[3] / "data" / "rubric" / "rubric.parquet"
PROMPT = 'Question:\n{question}\n---\nAnswer:\n{answer}\n---\nFrom 1 to 5, how good is it? {"score": …}'
KEY = "sk-not-to-be-seen-in-any-log"

Reply = Callable[[str, str], web.Response]


@dataclass
class Replay:
    """A judge as a server: what it was asked, and what it answers."""

    url: str
    reply: Reply
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def says(text: str, status: int = 200, **headers: str) -> web.Response:
    """Return an answer as an OpenAI-compatible API gives it."""
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}
    return web.json_response(body, status=status, headers=headers)


@pytest.fixture
async def replay() -> AsyncIterator[Replay]:
    """Start a judge; it gives 4 unless a test says otherwise."""
    port = free_port()
    found = Replay(f"http://127.0.0.1:{port}/v1", lambda _question, _answer: says("4"))

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        found.asked.append(body)
        found.keys.append(request.headers.get("authorization", ""))
        _, question, _, answer, _ = _parts(body["messages"][0]["content"])
        return found.reply(question, answer)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield found
    await runner.cleanup()


def _parts(prompt: str) -> tuple[str, ...]:
    head, rest = prompt.split("\n", 1)
    question, rest = rest.split("\n---\nAnswer:\n", 1)
    answer, tail = rest.rsplit("\n---\n", 1)
    return head, question, "", answer, tail


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry of the test's own."""
    return CollectorRegistry()


@pytest.fixture
async def shared(registry: CollectorRegistry) -> AsyncIterator[Library]:
    """Return what scorers share, without an hour's pace."""

    async def fetch(_source: object) -> bytes:
        raise AssertionError("nothing is fetched here")

    async def key(namespace: str, ref: SecretKeyRef) -> str:
        if (namespace, ref.name, ref.key) != ("chat", "keys", "judge"):
            raise KeyError(f"no such key, but {KEY}")
        return KEY

    library = Library(fetch, key, registry, at_once=True)
    yield library
    await library.close()


def judge(url: str, **more: Any) -> Rubric:
    """Return a rubric that this judge scores."""
    settings = {
        "endpoint": {"url": url, "model": "judge-1", "apiKeyRef": {"name": "keys", "key": "judge"}},
        "prompt": PROMPT,
        "passAtLeast": 4,
        "budgetPerHour": 10_000,
    }
    return Rubric.model_validate({"name": "helpful", "type": "Judge", "judge": settings | more})


def calls(registry: CollectorRegistry, outcome: str) -> float:
    """Return how many calls ended so."""
    labels = {"policy": POLICY, "rubric": "helpful", "outcome": outcome}
    return registry.get_sample_value("pointsman_evaluator_judge_calls_total", labels) or 0.0


async def ask(library: Library, rubric: Rubric, given: Case) -> Scored | Unscored:
    (scorer,) = scorers([rubric], library.resources(POLICY))
    return await scorer.score(given)


async def test_recorded_scores_come_out_again(
    replay: Replay, shared: Library, registry: CollectorRegistry
) -> None:
    """All 224 recorded scores are read from the replies, feedback behind them, and held against the least."""
    rows = pq.read_table(DATA).to_pylist()
    given = {(row["prompt"], row["answer"]): int(json.loads(row["scores"])[0]) for row in rows}
    feedback = {(row["prompt"], row["answer"]): row["feedback"] for row in rows}
    replay.reply = lambda question, answer: says(f"{given[question, answer]}\n\n{feedback[question, answer]}")
    (scorer,) = scorers([judge(replay.url)], shared.resources(POLICY))
    found = await asyncio.gather(*(scorer.score(case(row["answer"], row["prompt"])) for row in rows))
    expected = [given[row["prompt"], row["answer"]] for row in rows]
    assert found == [Scored(score >= 4, f"{score} of 5") for score in expected]
    assert len(found) == calls(registry, "ok") == 224
    sent = replay.asked[0]
    assert (sent["model"], sent["temperature"], sent["seed"]) == ("judge-1", 0, judges.SEED)
    assert set(replay.keys) == {f"Bearer {KEY}"}


async def test_what_was_judged_is_remembered_by_version(replay: Replay, shared: Library) -> None:
    """The same question and answer cost one call, until the rubric is another."""
    for _ in range(3):
        assert await ask(shared, judge(replay.url), case("Four.")) == Scored(passed=True, note="4 of 5")
    assert len(replay.asked) == 1
    assert await ask(shared, judge(replay.url, passAtLeast=5), case("Four.")) == Scored(False, "4 of 5")
    assert len(replay.asked) == 2


async def test_a_budget_is_never_exceeded(replay: Replay, shared: Library) -> None:
    """Beyond it nothing is asked; retries count, too."""
    rubric = judge(replay.url, budgetPerHour=3)
    found = await asyncio.gather(*(ask(shared, rubric, case(f"Answer {n}.")) for n in range(10)))
    assert found.count(Unscored("budget")) == 7
    assert len(replay.asked) == 3


async def test_a_busy_judge_is_asked_again(
    replay: Replay, shared: Library, registry: CollectorRegistry
) -> None:
    """429 and 5xx are tried again, and what comes then counts."""
    replies = [says("", 429, **{"retry-after": "0"}), says("", 503), says("5")]
    replay.reply = lambda _question, _answer: replies.pop(0)
    assert await ask(shared, judge(replay.url), case("Four.")) == Scored(passed=True, note="5 of 5")
    assert (calls(registry, "busy"), calls(registry, "ok")) == (2, 1)


@pytest.mark.parametrize(
    ("reply", "asked", "words"),
    [
        (lambda: says("", 500), 3, "busy after 3 attempts"),
        (lambda: says("no", 401), 1, "answers 401"),
        (lambda: says("Good, I would say."), 1, "no whole number from 1 to 5"),
        (lambda: says("4.5, or 17"), 1, "no whole number from 1 to 5"),
        (lambda: web.Response(text="4"), 1, "no whole number from 1 to 5"),
        (lambda: web.Response(body=b"4" * (judges.REPLY_BYTES + 1)), 1, "larger than"),
    ],
)
async def test_a_judge_that_fails_scores_nothing(
    *,
    replay: Replay,
    shared: Library,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    reply: Callable[[], web.Response],
    asked: int,
    words: str,
) -> None:
    """It says why, once, with neither question nor answer nor key."""
    monkeypatch.setattr(judges, "PAUSE_S", (0.01, 0.01))
    replay.reply = lambda _question, _answer: reply()
    for _ in range(2):
        found = await ask(shared, judge(replay.url), case("A secret answer.", "A secret question?"))
        assert found == Unscored("judge_failed")
    assert len(replay.asked) == 2 * asked
    (told,) = [r.getMessage() for r in caplog.records if r.name == judges.__name__]
    assert words in told
    assert "secret" not in caplog.text
    assert KEY not in caplog.text


async def test_a_key_that_cannot_be_read_reaches_no_log(
    replay: Replay, shared: Library, caplog: pytest.LogCaptureFixture
) -> None:
    """The Secret is named, nothing is asked."""
    endpoint = {"url": replay.url, "model": "m", "apiKeyRef": {"name": "keys", "key": "other"}}
    assert await ask(shared, judge(replay.url, endpoint=endpoint), case("Four.")) == Unscored("judge_failed")
    assert "Secret keys, key other cannot be read" in caplog.text
    assert KEY not in caplog.text
    assert replay.asked == []


async def test_nobody_there_is_a_failed_judge(shared: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that refuses connections holds nothing up."""
    monkeypatch.setattr(judges, "PAUSE_S", (0.01, 0.01))
    start = time.monotonic()
    found = await ask(shared, judge(f"http://127.0.0.1:{free_port()}"), case("Four."))
    assert found == Unscored("judge_failed")
    assert time.monotonic() - start < 10


async def test_texts_cannot_fill_in_places(replay: Replay, shared: Library) -> None:
    """An answer that holds `{question}` is judged as it is."""
    await ask(shared, judge(replay.url), case("{question} {reference} {x}", "Who?"))
    assert "Answer:\n{question} {reference} {x}\n" in replay.asked[0]["messages"][0]["content"]


@pytest.mark.parametrize("per_hour", [1, 59, 60, 600, 100_000])
def test_no_hour_holds_more_than_the_budget(per_hour: int) -> None:
    """Over three hours and a restart every hour has at most the budget, and a full hour most of it."""
    taken: list[float] = []
    step = max(3600.0 / per_hour / 4, 0.02)
    for begin, end in ((0.0, 5000.0), (5000.0, 10_800.0)):
        budget, now = Budget(per_hour, begin), begin
        while now < end:
            while budget.take(now):
                taken.append(now)
            now += step
    first = 0
    most = 0
    for last, at in enumerate(taken):
        while at - taken[first] >= 3600.0:
            first += 1
        most = max(most, last - first + 1)
    assert 0.9 * per_hour <= most <= per_hour
