"""Two evaluators on PostgreSQL behind one Envoy: log to one, captures to the other; and things die."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evaluator_stack import EvaluatorStack
from pointsman.evaluator.store import Store
from pointsman.lab.postgres import Postgres
from pointsman.lab.process import Server
from postgres_kit import ask
from wait import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(240)]

TERMS = (0.3, 2.0, 5.0)


@pytest.fixture
async def stack(tmp_path: Path, url: str) -> AsyncIterator[EvaluatorStack]:
    async with EvaluatorStack(tmp_path, url=url, terms=TERMS) as running:
        yield running


class Load:
    """Requests, one after the other, until told to stop; none may fail."""

    def __init__(self, stack: EvaluatorStack) -> None:
        self.sent = 0
        self._stack = stack
        self._on = True
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._on:
            assert await self._stack.post("/v1/good", **{"x-session-id": f"s-{self.sent % 7}"}) == 200
            self.sent += 1
            await asyncio.sleep(0.01)  # some tens a second: less than a busy machine can do

    async def reached(self, number: int) -> None:
        """Wait for so many more requests."""
        goal = self.sent + number
        await until(lambda: self.sent >= goal or self._task.done(), 60)

    async def stop(self) -> int:
        """End it; return how many were sent."""
        self._on = False
        await self._task
        return self.sent


async def counted(stack: EvaluatorStack) -> tuple[float, float]:
    """Return entries and losses, as Prometheus would sum them."""
    entries = (await stack.metric("pointsman_access_log_entries_total")).get((), 0)
    return entries, (await stack.metric("pointsman_access_log_lost_total")).get((), 0)


async def whole(stack: EvaluatorStack, sent: int) -> bool:
    """Whether every request is counted or counted as lost."""
    return sum(await counted(stack)) == sent


async def truth(stack: EvaluatorStack) -> None:
    """Assert that what is shown, what is counted and what the rows say are the same."""
    entries, _ = await counted(stack)
    assert ask(stack.url, "SELECT count(*) FROM requests") == [(entries,)]
    assert sum((await stack.metric("pointsman_requests_total")).values()) == entries
    with Store(stack.url, shared=True) as store:
        assert store.damage() == []
        totals, rows = store.all_totals(), store.recount()
        assert {series: totals[series] for series in rows} == dict(rows)


def kill(server: Server | None) -> None:
    """Kill -9."""
    assert server is not None
    assert server.child is not None
    os.kill(server.child.pid, signal.SIGKILL)
    server.child.kill()


async def again(server: Server | None) -> None:
    """Start what was killed, and wait until it serves."""
    assert server is not None
    await asyncio.to_thread(server.start().wait_ready)


async def test_log_and_text_meet_in_the_database(stack: EvaluatorStack) -> None:
    """Every request is stored once, with both halves of its text; either evaluator tells it."""
    for _ in range(20):
        assert await stack.post("/v1/good") == 200
    await until(lambda: whole(stack, 20), 15)
    await until(lambda: ask(stack.url, "SELECT count(*) FROM captures") == [(40,)])
    summary = await stack.summary()
    assert (summary["requests"], summary["captures"]["coveragePermille"]) == (20, 1000)
    assert (await stack.others.get("/v1/summary", params={"policy": "chat/support"})).json() == summary
    assert ask(stack.url, "SELECT DISTINCT replica FROM captures") == [("evaluator2",)]
    await truth(stack)


@pytest.mark.parametrize("which", ["log", "captures"])
async def test_kill_9_of_either_counts_nothing_twice_and_every_loss(
    stack: EvaluatorStack, which: str
) -> None:
    """Killed under load and started again: entries and losses are what was sent, rows what is counted."""
    load = Load(stack)
    await load.reached(100)
    victim = stack.evaluator if which == "log" else stack.second
    kill(victim)
    await load.reached(50)
    await again(victim)
    await load.reached(50)
    sent = await load.stop()
    await until(lambda: whole(stack, sent), 40, 0.2)
    await truth(stack)


async def test_scale_down_under_load_hands_its_counts_over(stack: EvaluatorStack) -> None:
    """The one with the captures never returns: what it counted is shown by the other, once."""
    load = Load(stack)
    await load.reached(100)
    await until(lambda: ask(stack.url, "SELECT count(*) FROM captures")[0][0] > 100)
    kill(stack.second)
    await load.reached(50)
    sent = await load.stop()
    await until(lambda: ask(stack.url, "SELECT replica FROM replicas") == [("evaluator",)], 30)
    await until(lambda: whole(stack, sent), 40, 0.2)
    captured = sum(
        number
        for labels, number in (await stack.metric("pointsman_captures_total")).items()
        if ("outcome", "stored") in labels
    )
    assert ask(stack.url, "SELECT count(*) FROM captures") == [(captured,)]
    await truth(stack)


async def test_the_database_away_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """PostgreSQL ends under load and is back after some seconds: every request is counted, none lost."""
    with Postgres(tmp_path / "server") as server:
        async with EvaluatorStack(tmp_path, url=server.url, terms=TERMS) as stack:
            load = Load(stack)
            await load.reached(60)
            await asyncio.to_thread(server.stop)
            await until(lambda: unready(stack), 30)
            await load.reached(60)
            await again(server)
            await load.reached(30)
            sent = await load.stop()
            await until(lambda: whole(stack, sent), 60, 0.2)
            assert (await counted(stack))[1] == 0
            await until(lambda: ready(stack), 30)
            assert await stack.metric("pointsman_evaluator_dropped_total") == {}
            await truth(stack)


async def ready(stack: EvaluatorStack) -> bool:
    """Whether both take traffic."""
    return [(await client.get("/readyz")).status_code for client in (stack.own, stack.others)] == [200, 200]


async def unready(stack: EvaluatorStack) -> bool:
    """Whether the one with the log says that its store takes nothing."""
    return (await stack.own.get("/readyz")).status_code == 503
