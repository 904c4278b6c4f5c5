"""What Prometheus sums over replicas is never more than what is stored, whoever dies or is cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from evaluator_stack import EvaluatorStack
from pointsman.lab.prometheus import Prometheus, Target
from postgres_kit import Partition, ask
from wait import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.prometheus, pytest.mark.timeout(600)]

TERMS = (0.3, 2.0, 6.0)
"""Cut off, a replica shows nothing after 2 s, is inherited after 6; scraped every second, that is seen."""


class Sums:
    """Asks Prometheus again and again for the sum over replicas, and holds it against what is stored."""

    def __init__(self, prometheus: str, database: str) -> None:
        self.last = 0.0
        self.over: list[tuple[float, int]] = []
        self._prometheus = prometheus
        self._database = database

    async def look(self) -> float:
        """Look once: what is stored now is at least what was shown before."""
        self.last = await self.ask("sum(pointsman_access_log_entries_total)")
        ((stored,),) = ask(self._database, "SELECT count(*) FROM requests")
        if self.last > stored:
            self.over.append((self.last, stored))
        return self.last

    async def ask(self, query: str) -> float:
        """Return a query's one number; 0 where there is none."""
        async with httpx.AsyncClient(trust_env=False) as client:
            found = await client.get(f"{self._prometheus}/api/v1/query", params={"query": query})
        result = found.json()["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    async def after(self, url: str, question: str, answer: int) -> bool:
        """Look, and tell whether the database answers so."""
        await self.look()
        return ask(url, question) == [(answer,)]

    async def reaches(self, number: int) -> bool:
        """Whether all are shown."""
        return await self.look() == number


@pytest.mark.parametrize("how", ["killed", "cut off"])
async def test_the_sum_is_never_more_than_what_is_stored(tmp_path: Path, url: str, how: str) -> None:
    """A replica with counts of its own is killed, or reaches the database no more but is scraped still."""
    async with (
        Partition(url) as way,
        EvaluatorStack(tmp_path, url=url, second_url=way.url, terms=TERMS) as stack,
        Prometheus(tmp_path, targets(stack)) as prometheus,
    ):
        sums = Sums(prometheus.url, url)
        for _ in range(30):
            assert await stack.post("/v1/good") == 200
        # The first one counted the log; let the second inherit it, and so have counts of its own.
        await until(lambda: sums.reaches(30), 30, 0.2)
        ask(url, "UPDATE totals SET replica = 'evaluator2' WHERE replica = 'evaluator'")
        assert stack.second is not None
        await restarted(stack)
        await until(lambda: sums.reaches(30), 30, 0.2)
        if how == "killed":
            assert stack.second.child is not None
            stack.second.child.kill()
        else:
            way.cut()
        await until(lambda: sums.after(url, "SELECT count(*) FROM replicas", 1), 60, 0.1)
        await until(lambda: sums.reaches(30), 30, 0.1)
        if how == "killed":
            # What the heir shows now did not happen now: rates and alerts do not see it a second time.
            assert (
                await sums.ask('sum(increase(pointsman_access_log_entries_total{job="evaluator"}[1m]))') == 0
            )
        way.heal()
        if how == "cut off":
            await until(lambda: len(ask(url, "SELECT 1 FROM replicas")) == 2, 60, 0.2)
            for _ in range(10):
                await sums.look()
                await asyncio.sleep(0.3)  # a few scrapes of the one that is back
            assert sums.last == 30
        assert sums.over == []


def targets(stack: EvaluatorStack) -> dict[str, Target]:
    """Return both evaluators as jobs."""
    ports = {"evaluator": stack.ports["http"], "second": stack.ports["http2"]}
    return {job: Target(f"127.0.0.1:{port}", interval_s=1) for job, port in ports.items()}


async def restarted(stack: EvaluatorStack) -> None:
    """Start both anew: each reads what counts in its name."""
    for server in (stack.evaluator, stack.second):
        assert server is not None
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start().wait_ready)
