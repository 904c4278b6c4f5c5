"""Load on an `EvaluatorStack`, and whether what it shows is what was sent and what is stored."""

from __future__ import annotations

import asyncio
import os
import signal

from evaluator_stack import EvaluatorStack
from pointsman.evaluator.store import Store
from pointsman.lab.process import Server
from postgres_kit import ask
from wait import until


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
    entries = sum((await stack.metric("pointsman_access_log_entries_total")).values())
    return entries, sum((await stack.metric("pointsman_access_log_lost_total")).values())


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
