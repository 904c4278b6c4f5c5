"""A pooler between the evaluators and PostgreSQL: what works, and what is refused at the start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator_builders import record
from evaluator_stack import EvaluatorStack
from pgbouncer_kit import Mode, PgBouncer
from pointsman.evaluator.store import Store, StoreError
from pointsman.evaluator.store.address import Server
from pointsman.evaluator.store.postgres import Postgres as Connection
from pointsman.lab.postgres import Postgres
from postgres_kit import ask
from replica_kit import replica, total
from stack_truth import Load, kill, truth, whole
from wait import until

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]

TERMS = (0.3, 2.0, 5.0)


@pytest.fixture(params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, tmp_path: Path, server: Postgres, url: str) -> Iterator[PgBouncer]:
    with PgBouncer(tmp_path, server, request.param, url) as running:
        yield running


async def test_two_replicas_share_a_pooler(pooler: PgBouncer, url: str) -> None:
    """Their transactions take turns on its connections: each entry is counted once, one leads."""
    async with replica(pooler.url, "a") as a, replica(pooler.url, "b") as b:
        for number in range(200):
            (a if number % 2 else b).writer.offer(record(number))
            if number % 20 == 0:
                await asyncio.sleep(0)  # several transactions, so that statements come again and again
                await until(lambda: a.writer.backlog_s == b.writer.backlog_s == 0, 30)
        await until(lambda: a.shown() + b.shown() == 200, 60)
        await until(lambda: a.member.leads != b.member.leads, 30)
        assert (a.writer.failing, b.writer.failing) == ("", "")
    assert total(url) == 200
    with Store(url) as store:
        assert store.damage() == []


@pytest.mark.envoy
async def test_kill_9_behind_a_pooler(tmp_path: Path, server: Postgres, url: str) -> None:
    """An evaluator is killed under load while the pooler holds its transaction: counts are what was sent."""
    with PgBouncer(tmp_path, server, "transaction", url) as pooler:
        async with EvaluatorStack(tmp_path, url=pooler.url, terms=TERMS) as stack:
            load = Load(stack)
            await load.reached(60)
            kill(stack.evaluator)
            await load.reached(40)
            assert stack.evaluator is not None
            await asyncio.to_thread(stack.evaluator.start().wait_ready)
            await load.reached(40)
            sent = await load.stop()
            await until(lambda: whole(stack, sent), 60, 0.2)
            await truth(stack)


def test_statements_are_prepared_only_without_a_pooler(pooler: PgBouncer, url: str) -> None:
    """A prepared statement is one connection's of the pooler; the next transaction may get another."""
    thresholds = {}
    for name, way in (("direct", url), ("pooled", pooler.url)):
        store = Connection(Server(way))
        with store.snapshot():
            assert store._connection is not None
            thresholds[name] = store._connection.prepare_threshold
        store.close()
    assert thresholds == {"direct": 5, "pooled": None}


@pytest.mark.parametrize(
    ("mode", "query", "words"),
    [
        ("statement", "", r"set pool_mode of the pooler to transaction, or session"),
        ("transaction", "?options=-csearch_path%3Dmine", r"options.*ALTER ROLE … SET search_path"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(  # noqa: PLR0917 - fixtures and cases
    tmp_path: Path, server: Postgres, url: str, mode: Mode, query: str, words: str
) -> None:
    """At once, with the setting's name and what to do."""
    with PgBouncer(tmp_path, server, mode, url) as pooler, pytest.raises(StoreError, match=words):
        Store(pooler.url + query)
    assert ask(url, "SELECT to_regclass('requests')") == [(None,)]
