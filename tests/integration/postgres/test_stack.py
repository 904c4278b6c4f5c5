"""Two evaluators on PostgreSQL behind one Envoy: log to one, captures to the other; and things die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evaluator_stack import EvaluatorStack
from pointsman.lab.postgres import Postgres
from postgres_kit import ask
from stack_truth import Load, again, counted, kill, truth, whole
from wait import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(600)]

TERMS = (0.3, 2.0, 5.0)


@pytest.fixture
async def stack(tmp_path: Path, url: str) -> AsyncIterator[EvaluatorStack]:
    async with EvaluatorStack(tmp_path, url=url, terms=TERMS) as running:
        yield running


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
