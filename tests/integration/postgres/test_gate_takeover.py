"""Two evaluators as processes on one PostgreSQL, and a gate: one asks, and when it is gone the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import shadow_stack
from pointsman.evaluator.gate.run import CONCURRENCY
from pointsman.evaluator.store import Store
from pointsman.lab.checks import http_ok
from pointsman.lab.process import LOCALHOST, Server, Spec, free_port
from pointsman.lab.prometheus import Prometheus, Target
from postgres_kit import ask
from shadow_stack import Stack, dataset, evaluation
from wait import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.prometheus, pytest.mark.timeout(600)]

CASES = 80
TERMS = (0.3, 4.0, 10.0)
PATIENCE_S = 150.0
"""For a start on a busy machine."""
PROMPTS = [f"Case {number}?" for number in range(CASES)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Run Envoy and the tiers; no revision here asks a classifier."""
    with shadow_stack.run(tmp_path, f"http://{LOCALHOST}:1", "0" * 64) as running:
        running.models.answers("small", {p: f"The answer is {'AB'[n % 2]}" for n, p in enumerate(PROMPTS)})
        running.models.answers("large", dict.fromkeys(PROMPTS, "The answer is A"))
        running.models.faults("small", delay_ms=500)
        yield running


def process(stack: Stack, folder: Path, name: str, url: str) -> Server:
    """Return an evaluator whose one policy is in its gate."""
    other = dataset(folder / "other.jsonl", {"Something else?": "B"})
    cases = dataset(folder / "cases.jsonl", dict.fromkeys(PROMPTS, "A"), group="g", intent="sums")
    policy = stack.policy(
        candidate="pinned",
        step="Gate",
        evaluation=evaluation(other, gate={"dataset": cases}),
        rollout={"shadow": {"budgetUSDPerHour": "1000"}},
    )
    http = f"{LOCALHOST}:{free_port()}"
    settings: dict[str, Any] = {
        "access_log_address": f"{LOCALHOST}:{free_port()}",
        "capture_address": f"{LOCALHOST}:{free_port()}",
        "http_address": http,
        "store": url,
        "replica": name,
        "terms": TERMS,
        "envoy_admin": [],
        "allow_files": True,
        "shadow_urls": {"": stack.shadow},
        "tls": [str(stack.tls.cert), str(stack.tls.key), str(stack.tls.client_ca)],
        "policies": [policy],
        "revisions": list(stack.revisions().values()),
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(settings))
    script = Path(__file__).parents[2] / "evaluator_process.py"
    command = [sys.executable, str(script), str(file)]
    log = folder / f"{name}.log"
    return Server(
        Spec(name, command, log, http, lambda: http_ok(http, "/readyz"), start_deadline_s=PATIENCE_S)
    )


@asynccontextmanager
async def two(stack: Stack, folder: Path, url: str) -> AsyncIterator[dict[str, Server]]:
    """Run both."""
    async with AsyncExitStack() as exits:
        servers = {name: process(stack, folder, name, url) for name in ("a", "b")}
        for server in servers.values():
            await exits.enter_async_context(server)
        yield servers


def scored(url: str) -> int:
    """Return how many cases the store has as scored."""
    return int(ask(url, "SELECT count(*) FROM gate_cases WHERE state = 'scored'")[0][0])


async def summed(prometheus: str, query: str) -> float:
    """Return one number of Prometheus'."""
    async with httpx.AsyncClient(trust_env=False) as client:
        found = await client.get(f"{prometheus}/api/v1/query", params={"query": f"sum({query})"})
    result = found.json()["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


async def test_a_gate_is_asked_once_though_its_evaluator_is_killed(
    stack: Stack, tmp_path: Path, url: str
) -> None:
    """What was under way when it was killed is paid for twice at most; every case counts once."""
    async with two(stack, tmp_path, url) as servers:
        targets = {name: Target(server.spec.address, interval_s=1) for name, server in servers.items()}
        async with Prometheus(tmp_path, targets) as prometheus:
            await until(lambda: scored(url) >= CONCURRENCY, 120, 0.1, "some cases")
            ((leader,),) = ask(url, "SELECT holder FROM leases")
            victim = servers[str(leader)].child
            assert victim is not None
            os.kill(victim.pid, signal.SIGKILL)
            victim.kill()
            await until(lambda: scored(url) == CASES, 200, 0.2, "all cases")

            async def same() -> bool:
                cases = await summed(prometheus.url, 'pointsman_gate_cases{state="scored"}')
                pairs = await summed(prometheus.url, 'pointsman_rubric_pairs_total{rubric="correct"}')
                return cases == pairs == CASES

            await until(same, 60, 0.5, "Prometheus has each case once")
    for model in ("small", "large"):
        asked = Counter(entry["id"] for entry in stack.models.ledger(model, gate=True))
        assert len(asked) == CASES
        assert asked.total() <= CASES + CONCURRENCY
    await asyncio.to_thread(undamaged, url)


def undamaged(url: str) -> None:
    """Hold the store's counts against its rows."""
    with Store(url) as store:
        assert store.damage() == []
