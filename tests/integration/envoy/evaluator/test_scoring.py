"""Scores of requests that a real Envoy served, through a kill -9 of the evaluator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from evaluator_builders import POLITE, ROLLOUT, policy_object, rollout_status
from evaluator_stack import CAPTURE, EvaluatorStack
from pointsman.evaluator.store import Store
from wait import until

pytestmark = pytest.mark.envoy

GREETS = POLITE | {"name": "greets", "contains": {"any": ["Hello"]}}
RESULTS = "pointsman_rubric_results_total"


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[EvaluatorStack]:
    policy = policy_object(capture_spec=CAPTURE, rubrics=[GREETS], status=rollout_status())
    async with EvaluatorStack(tmp_path, policy=policy) as running:
        yield running


async def results(stack: EvaluatorStack, *by: str, **labels: str) -> Counter[tuple[str, ...]]:
    """Return the counts of scored requests by some labels, of those that have others."""
    found: Counter[tuple[str, ...]] = Counter()
    for series, value in (await stack.metric(RESULTS)).items():
        named = dict(series)
        if labels.items() <= named.items():
            found[tuple(named[label] for label in by)] += round(value)
    return found


async def test_answers_are_scored_by_arm_and_step(stack: EvaluatorStack) -> None:
    """A greeting passes, a stream without one fails, a broken tier has no text: each in its own arm."""
    for step, arm, path, number in ((3, "i", "good", 4), (3, "c", "stream", 3), (4, "c", "500", 2)):
        for _ in range(number):
            await stack.post(f"/v1/{path}", **{"x-rollout": f"{ROLLOUT}/{step}/{arm}"})
    await until(lambda: _counted(stack, 9), 15, 0.1)
    assert await results(stack, "arm", "step", "outcome", rubric="greets") == Counter(
        {("incumbent", "3", "pass"): 4, ("candidate", "3", "fail"): 3}
    )
    answered = await results(stack, "arm", "step", "outcome", rubric="answered")
    assert answered["candidate", "4", "fail"] == 2
    unscored = await stack.metric("pointsman_rubric_unscored_total")
    assert [dict(series)["because"] for series in unscored] == ["no_answer"]


async def _counted(stack: EvaluatorStack, number: int) -> bool:
    return sum((await results(stack, rubric="answered")).values()) == number


async def test_scores_are_counted_once_through_kill_9(stack: EvaluatorStack) -> None:
    """Killed twice under load: every stored request is scored or given up in the end, and counted once."""
    label = {"x-rollout": f"{ROLLOUT}/3/i"}
    stop = asyncio.Event()

    async def load() -> int:
        sent = 0
        while not stop.is_set():
            sent += await stack.post("/v1/good", **label) == 200
        return sent

    loading = [asyncio.create_task(load()) for _ in range(4)]
    for number in (100, 150):
        await until(partial(_more_than, stack, number), 20, 0.05)
        assert stack.evaluator.child is not None
        os.kill(stack.evaluator.child.pid, signal.SIGKILL)
        stack.evaluator.child.kill()
        child = stack.evaluator.start()
        await asyncio.to_thread(child.wait_ready)
    await until(lambda: _more_than(stack, 300), 20, 0.05)
    stop.set()
    await asyncio.gather(*loading)
    await until(lambda: _none_pending(stack), 30, 0.1)
    served = sum((await results(stack, rubric="answered")).values())
    with contextlib.closing(sqlite3.connect(f"file:{stack.store}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM requests").fetchone() == (served,)
    stack.evaluator.stop()
    with Store(stack.store) as store:
        totals, rows = store.totals(), store.recount()
        assert {series: totals[series] for series in rows} == dict(rows)
        assert store.damage() == []


async def _more_than(stack: EvaluatorStack, number: int) -> bool:
    return sum((await results(stack, rubric="answered")).values()) > number


async def _none_pending(stack: EvaluatorStack) -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{stack.store}?mode=ro", uri=True)) as db:
        (pending,) = db.execute("SELECT count(*) FROM requests WHERE pending").fetchone()
    lost = await stack.metric("pointsman_evaluator_queue_items")
    return pending == 0 and lost == {(): 0.0}
