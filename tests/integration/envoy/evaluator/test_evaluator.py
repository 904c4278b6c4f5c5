"""The real Envoy delivers its access log and captures to the evaluator, a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from evaluator_stack import EvaluatorStack
from pointsman.evaluator.store import Store
from pointsman.evaluator.tls import TLSFiles
from pointsman.lab.pki import Authority, Pair
from wait import until

pytestmark = pytest.mark.envoy


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[EvaluatorStack]:
    async with EvaluatorStack(tmp_path) as running:
        yield running


def rows(stack: EvaluatorStack, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{stack.store}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


async def leave(stack: EvaluatorStack, path: str) -> None:
    """Send a request and hang up before its answer's end."""
    with contextlib.suppress(httpx.HTTPError):
        await stack.client.post(path, content=b"{}", timeout=0.3)


async def test_every_request_is_a_row_and_a_count(stack: EvaluatorStack) -> None:
    """Good, failed, timed out, cut off, left by the client, unrouted, broken script: all are counted."""
    assert await stack.post("/v1/good", **{"x-session-id": "s-1"}) == 200
    assert await stack.post("/v1/500") == 500
    assert await stack.post("/v1/hang") == 504
    assert await stack.post("/v1/cut") == 0
    assert await stack.post("/v1/stream", **{"x-tier": "cheap", "x-served": "strong"}) == 200
    assert await stack.post("/v1/good", **{"x-reason": "classifier_timeout", "x-tier": "strong"}) == 200
    assert await stack.post("/v1/good", **{"x-broken": "1"}) == 200
    assert await stack.post("/none") == 404
    await leave(stack, "/v1/hang")
    await leave(stack, "/v1/slow")
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", stack.ports["entry"])
        writer.write(b"NONSENSE\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    found = await stack.requests(9)
    assert found["requests"] == 9  # with the 404, whose metadata names the policy before it is not routed
    guards = {(g["rubric"], g["tier"]): (g["pass"], g["fail"]) for g in found["guards"]}
    assert guards["answered", "cheap"] == (3, 5)
    assert guards["answered", "strong"] == (2, 0)
    assert guards["aborted", "cheap"] == (5, 2)
    assert guards["failOpen", "strong"] == (1, 1)
    assert guards["retry", "strong"] == (1, 1)
    broken = [("script_error", 200)]
    assert rows(stack, "SELECT reason, status FROM requests WHERE reason = 'script_error'") == broken
    assert rows(stack, "SELECT count(*) FROM requests WHERE session <> ''") == [(1,)]
    await until(lambda: _entries_are(stack, 11.0), 15, what="11 entries")
    looks = await stack.metric("pointsman_evaluator_envoy_polls_total")
    await until(lambda: _polled(stack, sum(looks.values()) + 8), 15)
    assert (await stack.metric("pointsman_access_log_lost_total")) == {(): 0.0}


async def _entries_are(stack: EvaluatorStack, count: float) -> bool:
    """Tell whether so many entries have come: the last ones are flushed after the rows were looked at."""
    return await stack.metric("pointsman_access_log_entries_total") == {(): count}


async def _polled(stack: EvaluatorStack, times: float) -> bool:
    return sum((await stack.metric("pointsman_evaluator_envoy_polls_total")).values()) >= times


async def test_captured_text_is_joined_and_redacted(stack: EvaluatorStack) -> None:
    """A stream whose address came in pieces is kept as text without it; both halves bear the request's id."""
    await stack.post("/v1/stream")
    await until(lambda: len(rows(stack, "SELECT 1 FROM captures")) == 2)
    await stack.requests(1)
    joined = rows(
        stack,
        "SELECT c.half, form, text FROM captures c JOIN requests USING (policy, request_id) ORDER BY 1",
    )
    assert joined == [("request", "json", '{"model":"auto"}'), ("response", "text", "write to [email]")]
    assert (await stack.summary())["captures"]["coveragePermille"] == 1000


async def test_kill_9_loses_only_what_is_then_counted_as_lost(stack: EvaluatorStack) -> None:
    """Killed under load and started again: rows are what is counted, and what is missing is what is lost."""
    sent = 0

    async def load(number: int) -> None:
        nonlocal sent
        for _ in range(number):
            assert await stack.post("/v1/good") == 200
            sent += 1

    await load(50)
    loading = asyncio.create_task(load(250))
    await until(lambda: sent >= 100)
    assert stack.evaluator.child is not None
    os.kill(stack.evaluator.child.pid, signal.SIGKILL)
    stack.evaluator.child.kill()
    await loading  # no request failed meanwhile
    child = stack.evaluator.start()
    await asyncio.to_thread(child.wait_ready)
    await load(50)

    async def complete() -> bool:
        lost = (await stack.metric("pointsman_access_log_lost_total")).get((), 0)
        entries = (await stack.metric("pointsman_access_log_entries_total")).get((), 0)
        return lost > 0 and lost + entries == sent == 350

    await until(complete, 20, 0.1)
    entries = (await stack.metric("pointsman_access_log_entries_total"))[()]
    requests = await stack.metric("pointsman_requests_total")
    assert sum(requests.values()) == entries == rows(stack, "SELECT count(*) FROM requests")[0][0]
    # Looked at for another while, the loss stays what it is.
    looks = sum((await stack.metric("pointsman_evaluator_envoy_polls_total")).values())
    await until(lambda: _polled(stack, looks + 10), 15)
    assert sent - entries == (await stack.metric("pointsman_access_log_lost_total"))[()]
    stack.evaluator.stop()
    with Store(stack.store) as store:
        totals, recounted = store.totals(), store.recount()
        assert {series: totals[series] for series in recounted} == recounted
        assert store.damage() == []


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "stranger"])
async def test_only_a_client_certificate_of_ours_may_deliver(tmp_path: Path, *, trusted: bool) -> None:
    """With TLS, an Envoy of our authority is heard; one of another's delivers neither log nor text."""
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    mine = ours.leaf("evaluator", "evaluator", hosts=["localhost", "127.0.0.1"])
    theirs = (ours if trusted else others).leaf("envoy", "envoy", hosts=["localhost"])
    tls = TLSFiles(mine.cert, mine.key, ours.pair.cert)
    async with EvaluatorStack(tmp_path, tls, _client(theirs, ours.pair.cert)) as stack:
        assert await stack.post("/v1/good") == 200
        if trusted:
            await stack.requests(1)
            await until(lambda: len(rows(stack, "SELECT 1 FROM captures")) == 2)
            return
        await until(lambda: _lost(stack), 20)
        assert rows(stack, "SELECT 1 FROM requests UNION ALL SELECT 1 FROM captures") == []


async def _lost(stack: EvaluatorStack) -> bool:
    return (await stack.metric("pointsman_access_log_lost_total")).get((), 0) == 1


def _client(pair: Pair, authority: Path) -> dict[str, Any]:
    return {
        "tls_certificates": [
            {"certificate_chain": {"filename": str(pair.cert)}, "private_key": {"filename": str(pair.key)}}
        ],
        "validation_context": {"trusted_ca": {"filename": str(authority)}},
    }
