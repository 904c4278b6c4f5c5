"""Over 20,000 requests and a restart of everything that counts: counters, store and tiers tell the same."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from pointsman.lab.load import Load, Outcome, drawn
from pointsman.lab.load import Prompt as Asked
from stack import Stack, pointsman
from wait import until

pytestmark = pytest.mark.timeout(420)

REQUESTS = 20_000
RATE = 150.0
POLICY = "truth"
HOST = "truth.example.com"
TIERS = ("tier-small", "tier-cheap", "tier-spare", "tier-strong")
LETTER: dict[str, Any] = {"name": "letter", "type": "Regex", "regex": {"pattern": r"answer is \(?[A-J]"}}


class Pages(NamedTuple):
    """Requests by id: what tiers answered for clients, and what is in the store; and how many are lost."""

    tiers: frozenset[str]
    stored: frozenset[str]
    lost: int

    @property
    def agree(self) -> bool:
        """Whether each request that a tier answered is stored, or known to be lost."""
        return len(self.tiers - self.stored) == self.lost

    def __str__(self) -> str:
        return f"tiers {len(self.tiers)}, stored {len(self.stored)}, lost {self.lost}"


class Books:
    """What the tiers and the store have written down since a moment when all was quiet."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._lost = self._known_as_lost()
        self._seen = self._answered()

    def now(self) -> Pages:
        """Return what was written down since then. A request that Envoy tried twice is one."""
        return Pages(self._answered() - self._seen, self._stored(), self._known_as_lost() - self._lost)

    def _answered(self) -> frozenset[str]:
        found: set[str] = set()
        for name in TIERS:
            ledger = httpx.get(f"http://{self._stack.address(name)}/ledger", timeout=30).json()
            found.update(entry["id"] for entry in ledger["entries"] if not entry["shadow"])
        return frozenset(found)

    def _stored(self) -> frozenset[str]:
        path = self._stack.state / "evaluator.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT request_id FROM requests WHERE policy = ?", (f"default/{POLICY}",))
            return frozenset(row[0] for row in rows)

    def _known_as_lost(self) -> int:
        log = self._stack.evaluator(f"/v1/summary?policy=default/{POLICY}")["accessLog"]
        return int(log["lost"])


@pytest.fixture
async def observed(stack: Stack) -> AsyncIterator[None]:
    """Apply a policy whose first revision is watched for ever: a live rollout, all on its incumbent."""
    stack.apply(
        stack.policy(
            POLICY,
            host=HOST,
            strategy={"type": "Pinned", "pinned": {"tier": "cheap"}},
            evaluation={
                "prometheus": {"url": stack.status()["prometheus"]},
                "capture": {"samplePermille": 1000},
                "rubrics": [LETTER],
            },
            rollout={"mode": "Observe", "first": "Prove", "shadow": {"mode": "On", "samplePermille": 1}},
        )
    )
    await until(lambda: asyncio.to_thread(_rollout, stack), 40, 0.2, "a live rollout")
    yield
    stack.drop(POLICY)


def _rollout(stack: Stack) -> str:
    found = stack.get(POLICY).get("status", {}).get("rollout") or {}
    return str(found.get("id", ""))


class Sent(Load):
    """The load, and how many of its requests have an answer."""

    @property
    def answered(self) -> int:
        """Number of answers."""
        return sum(outcome.status == 200 for outcome in self.outcomes)


@asynccontextmanager
async def sending(stack: Stack, texts: list[str]) -> AsyncIterator[Sent]:
    load = Sent(stack.target(HOST), RATE)
    prompts = [Asked(f"p{index}", text) for index, text in enumerate(texts)]
    task = asyncio.create_task(load.run(drawn(prompts, seed=7)))
    try:
        yield load
    finally:
        load.stop()
        await task


async def _more(load: Sent, number: float) -> None:
    goal = load.answered + number
    await until(lambda: load.answered >= goal, 60 + number / RATE * 2, 0.2, f"{number} more answers")


async def test_counters_store_and_ledgers_agree_through_restarts(
    stack: Stack, observed: None, texts: list[str]
) -> None:
    """Evaluator by SIGTERM and kill -9, Prometheus by kill -9, Envoy drained and restarted: under load."""
    rollout = _rollout(stack)
    await _quiet(stack)
    books = Books(stack)
    part = REQUESTS / 5
    async with sending(stack, texts) as load:
        await _more(load, part)
        await asyncio.to_thread(pointsman, "lab", "restart", "evaluator", "--state", str(stack.state))
        await _more(load, part)
    assert (await _agreed(books)).lost == 0, "nothing is lost to SIGTERM"

    async with sending(stack, texts) as more:
        await _more(more, part / 2)
        await _killed(stack, "evaluator")
        await _more(more, part / 2)
        await _killed(stack, "prometheus")
        await _more(more, part)
    lost = (await _agreed(books)).lost
    assert lost <= 2 * RATE, "at most two seconds of traffic to kill -9"

    async with sending(stack, texts) as rest:
        await _more(rest, part / 2)
        await _drained_and_restarted(stack)
        await _more(rest, part / 2)
    pages = await _agreed(books)
    assert pages.lost == lost, "nothing is lost to an Envoy that was drained"
    served = [o for run in (load, more, rest) for o in run.outcomes if o.status == 200]
    assert len(served) >= REQUESTS
    assert not _unexpected([*load.outcomes, *more.outcomes])

    counted = await _counted(stack, rollout)
    assert counted["answered", "pass"] == len(served) - lost
    assert sum(counted["answered", word] for word in ("pass", "fail")) == len(pages.stored)
    assert counted["letter", "pass"] > 0
    letters = {o.prompt for o in served if "answer is" in o.text}
    assert letters, "the tiers' answers name a letter"
    seen = await until(lambda: _prometheus_says(stack, rollout, counted), 30, 0.5, "Prometheus has caught up")
    assert seen


def _unexpected(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.status != 200]


async def _quiet(stack: Stack) -> None:
    """Wait until Envoy serves nothing and every request that it served is stored or known to be lost."""

    def settled() -> bool:
        stats = stack.stats(r"^http\.entry\.downstream_rq_(completed|active)$")
        nodes = stack.evaluator(f"/v1/summary?policy=default/{POLICY}")["accessLog"]["nodes"]
        known = max((n["received"] + n["lost"] for n in nodes if n["finished"]), default=0)
        done = stats.get("http.entry.downstream_rq_completed", 0)
        return stats.get("http.entry.downstream_rq_active", 0) == 0 and (not done or known >= done)

    await until(lambda: asyncio.to_thread(settled), 40, 0.5, "nothing under way")


async def _agreed(books: Books) -> Pages:
    """Wait until each request that a tier answered is stored, or known to be lost."""
    pages = books.now()
    end = asyncio.get_running_loop().time() + 40
    while not pages.agree and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(1)
        pages = await asyncio.to_thread(books.now)
    assert pages.agree, str(pages)
    return pages


async def _killed(stack: Stack, name: str) -> None:
    restarts = await asyncio.to_thread(stack.kill, name)
    await asyncio.to_thread(stack.back, name, restarts)


async def _drained_and_restarted(stack: Stack) -> None:
    """End Envoy as a rolling update does: no new connections, requests under way finish, then SIGTERM."""
    admin = f"http://{stack.address('envoy')}"
    await asyncio.to_thread(httpx.post, f"{admin}/drain_listeners?graceful", timeout=10)
    total, calm = "http.entry.downstream_rq_total", 0
    seen = -1
    end = asyncio.get_running_loop().time() + 30
    # The log is sent every 200 ms: what the last request said is on its way after one.
    while calm < 8:
        assert asyncio.get_running_loop().time() < end, "Envoy still serves"
        await asyncio.sleep(0.2)
        stats = await asyncio.to_thread(stack.stats, f"^{total.replace('.', '[.]')}$")
        calm = calm + 1 if stats.get(total, 0) == seen else 0
        seen = stats.get(total, 0)
    await asyncio.to_thread(pointsman, "lab", "restart", "envoy", "--state", str(stack.state))


async def _counted(stack: Stack, rollout: str) -> Counter[tuple[str, str]]:
    """Return passes and fails by rubric, of the rows of the store, once nothing is pending."""

    def told() -> dict[str, Any] | None:
        found = stack.evaluator(f"/v1/summary?policy=default/{POLICY}")["rollouts"]
        mine = [entry for entry in found if entry["rollout"] == rollout]
        return mine[0] if mine and mine[0]["pending"] == 0 else None

    found = await until(lambda: asyncio.to_thread(told), 40, 0.5, "nothing pending")
    counts: Counter[tuple[str, str]] = Counter()
    assert found is not None
    for entry in found["rubrics"]:
        counts[entry["rubric"], "pass"] += entry["pass"]
        counts[entry["rubric"], "fail"] += entry["fail"]
    return counts


async def _prometheus_says(stack: Stack, rollout: str, counted: Counter[tuple[str, str]]) -> bool:
    query = f'sum by (rubric, outcome) (pointsman_rubric_results_total{{rollout="{rollout}"}})'
    base = stack.status()["prometheus"]
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = (await client.get(f"{base}/api/v1/query", params={"query": query})).json()
    seen = {
        (sample["metric"]["rubric"], sample["metric"]["outcome"]): round(float(sample["value"][1]))
        for sample in answer["data"]["result"]
    }
    return seen == {key: number for key, number in counted.items() if number}
