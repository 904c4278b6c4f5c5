"""Several replicas on one database: each counts its own, the dead are inherited once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from envoy_kit.background import Background
from evaluator_builders import (
    POLICY,
    POLITE,
    ROLLOUT,
    FakeClock,
    capture,
    known_policies,
    record,
    rollout_status,
)
from pointsman.clock import system_clock
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.cases import GateCase, PairRow, ShadowNote
from pointsman.evaluator.member import Member
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.record import session_digest
from pointsman.evaluator.rows import Batch
from pointsman.evaluator.shadow.history import spent, spent_by_others
from pointsman.evaluator.store import FencedError, Store, TakenError, UnavailableError
from pointsman.evaluator.store.address import Server
from pointsman.evaluator.store.connect import reading
from pointsman.evaluator.store.replicas import Replica, adopt, join
from pointsman.evaluator.sweeping import Keeping, sweep
from pointsman.evaluator.totals import Series
from pointsman.evaluator.writer import micros
from pointsman.lab.postgres import Postgres
from postgres_kit import Partition, ask
from replica_kit import TERMS, One, replica, total
from wait import until

pytestmark = pytest.mark.postgres


async def test_each_counts_what_it_wrote_and_the_sum_is_what_is_stored(url: str) -> None:
    """The same entry delivered to both is counted by one of them."""
    async with replica(url, "a") as a, replica(url, "b") as b:
        for number in range(60):
            (a if number % 3 else b).writer.offer(record(number))
        a.writer.offer(record(999))
        b.writer.offer(record(999))
        await until(lambda: a.shown() + b.shown() == 61, 30)
        assert total(url) == 61
        assert a.shown() >= 40
        assert b.shown() >= 20
    with Store(url) as store:
        assert store.damage() == []


async def test_exactly_one_leads(url: str) -> None:
    """Of three one; when it is gone, one of the others, after its lease."""
    async with replica(url, "a") as a, replica(url, "b") as b, replica(url, "c") as c:
        await until(lambda: all(len(one.member.live) == 3 for one in (a, b, c)), 30)
        (leader,) = [one for one in (a, b, c) if one.member.leads]
        others = [one for one in (a, b, c) if one is not leader]
        await leader.die()
        await until(lambda: sum(one.member.leads for one in others) == 1, 30)
        await until(lambda: not leader.member.leads, 30)


async def test_the_counts_of_a_replica_that_never_returns_are_inherited_once(url: str) -> None:
    """Scale-down: the sum that is shown falls for a lease's time, and is whole again; the row is gone."""
    async with replica(url, "a") as a, replica(url, "b") as b:
        for number in range(20):
            (a if number % 2 else b).writer.offer(record(number))
        await until(lambda: a.shown() + b.shown() == 20, 30)
        await b.die()
        await until(lambda: a.shown() == 20, 30)
        assert ask(url, "SELECT replica FROM replicas") == [("a",)]
        assert total(url) == 20
        async with replica(url, "b") as again:
            again.writer.offer(record(100))
            await until(lambda: again.shown() == 1, 30)
            assert a.shown() == 20
        assert total(url) == 21


async def test_a_restart_within_the_lease_counts_on(url: str) -> None:
    """The same name, the same counts; nobody inherits."""
    async with replica(url, "a") as a, replica(url, "b") as b:
        b.writer.offer(record(1))
        await until(lambda: b.shown() == 1, 30)
        await b.die()
        async with replica(url, "b") as again:
            assert again.shown() == 1
            assert a.shown() == 0


async def test_a_replica_that_was_taken_for_dead_counts_anew(url: str) -> None:
    """Not heard of for a lease: it shows nothing, then begins from zero; no count is lost or twice."""
    async with replica(url, "a") as a, replica(url, "b") as b:
        b.writer.offer(record(1))
        await until(lambda: b.shown() == 1, 30)
        b.tasks[1].cancel()  # its heartbeat alone
        await until(lambda: b.shown() == 0, 30)
        await until(lambda: a.shown() == 1, 30)
        b.writer.offer(record(2))
        b.tasks[1] = asyncio.create_task(Member.run(_revived(b, url), b.writer))
        await until(lambda: b.shown() == 1, 30)
        assert (a.shown(), total(url)) == (1, 2)


def _revived(one: One, url: str) -> Member:
    one.member = Member(Server(url), one.member.replica, one.member.clock_us, one.member.metrics, TERMS)
    one.writer.totals.trusted = lambda: one.member.trusted
    return one.member


async def test_two_runs_cannot_have_one_name(url: str) -> None:
    """The newer one has it; the older one writes nothing more and ends with words that say why."""
    async with replica(url, "a") as older:
        older.writer.offer(record(1))
        await until(lambda: older.shown() == 1, 30)
        async with replica(url, "a") as newer:
            assert newer.shown() == 1
            with pytest.raises(TakenError, match="another evaluator runs as replica a"):
                await older.tasks[1]
            with pytest.raises(TakenError):
                older.store.write(Batch(requests=[]))


def test_an_inherited_replica_writes_nothing_more(url: str) -> None:
    """Between its death by the clock and its next word it may still try: its transaction is refused whole."""
    a, b = Replica("a"), Replica("b")
    with Store(url, replica=a) as one, Store(url, replica=b) as other:
        join(one.db, a)
        join(other.db, b)
        assert not adopt(one.db, a, "b", 3600.0)  # it lives
        ask(url, "UPDATE replicas SET seen_us = 0 WHERE replica = 'b'")
        assert adopt(one.db, a, "b", 3600.0)
        with pytest.raises(FencedError):
            other.write(Batch(captures=[capture(1)]))
        assert ask(url, "SELECT count(*) FROM captures") == [(0,)]


async def test_a_request_is_scored_by_who_holds_its_text_as_it_came(url: str) -> None:
    """Log entry to one replica, captures to another: scored once, by the latter, in the rollout's counts."""
    policies = known_policies(rubrics=[POLITE], status=rollout_status())
    served = record(1, captured=True, rollout=ROLLOUT, step=3, arm="incumbent")
    async with replica(url, "a", policies) as a, replica(url, "b", policies) as b:
        await until(lambda: len(a.member.live) == len(b.member.live) == 2, 30)
        seen: list[str] = []
        a.scoring.on_scored.append(lambda _: seen.append("a"))
        b.scoring.on_scored.append(lambda scored: seen.append(f"b {scored.body!r}"))
        b.bodies.put(POLICY, "request-1", b"as it came")
        b.writer.offer(capture(1, kept=Kept("json", "{}", truncated=False)))
        b.writer.offer(capture(1, "response"))
        a.writer.offer(served)
        await until(lambda: seen, 30)
        assert seen == ["b b'as it came'"]
        await until(lambda: not a.scoring.scored_until_us(1 << 60), 30)
    with Store(url) as store:
        assert store.damage() == []
        assert ask(url, "SELECT count(*) FROM requests WHERE pending") == [(0,)]


async def test_what_a_dead_replica_had_to_score_is_scored_by_its_heir(url: str) -> None:
    """Pending when it died: scored once, by another; until then nobody says that all is scored."""
    policies = known_policies(rubrics=[POLITE], status=rollout_status())
    served = record(1, captured=True, rollout=ROLLOUT, step=3, arm="incumbent")
    async with replica(url, "a", policies) as a:
        async with replica(url, "b", policies) as b:
            b.writer.offer(served)
            await until(lambda: b.shown() == 1, 30)
            await b.die()
        await until(lambda: a.member.silent_us() is not None, 30)
        await until(lambda: ask(url, "SELECT scorer FROM requests WHERE pending") in ([("a",)], []), 30)
        await until(lambda: not ask(url, "SELECT 1 FROM requests WHERE pending"), 20)
        await until(lambda: a.member.silent_us() is None, 30)


async def test_a_deleted_session_is_out_of_every_replicas_memory(url: str) -> None:
    """Whoever is asked to delete it, the others let go of what they hold as well."""
    async with replica(url, "a") as a, replica(url, "b") as b:
        b.bodies.put(POLICY, "request-1", b"secret")
        await a.writer.call(lambda store: store.forget(session_digest("s"), micros(FakeClock())))
        await until(lambda: b.bodies.get(POLICY, "request-1") is None, 30)


async def test_a_gate_that_another_takes_up_counts_as_one(url: str) -> None:
    """A case that one replica gave up and the next scored: the sums over both are those of the rows."""
    pair = PairRow(
        POLICY, ROLLOUT, "gate", "case", "g", "law", "polite", "1", incumbent=True, candidate=False
    )
    sums: Counter[Series] = Counter()
    for name, items in (("a", [GateCase(POLICY, ROLLOUT, "case", "failed")]), ("b", [pair, pair])):
        own = Replica(name)
        with Store(url, replica=own) as store:
            join(store.db, own)
            store.write(Batch(cases=[*items, GateCase(POLICY, ROLLOUT, "case", "scored")]))
    with Store(url) as store:
        sums, rows = store.all_totals(), store.recount()
        assert {series: sums[series] for series in rows} == dict(rows)


async def test_one_sweeps_and_all_forget(url: str) -> None:
    """Counters that the leader drops are gone from the other's exposition at its next sweep."""
    gone = Policies()
    gone.synced.set()
    keeping = Keeping(requests_s=1 << 31, series_s=0)
    async with replica(url, "a") as a, replica(url, "b") as b:
        await until(lambda: a.member.leads != b.member.leads, 30)
        leader, other = (a, b) if a.member.leads else (b, a)
        other.writer.offer(record(1))
        await until(lambda: other.shown() == 1, 30)
        assert b"pointsman_requests_total{" in other.writer.totals.render()
        metrics = ProcessMetrics(CollectorRegistry())
        for one in (leader, leader, other):
            await sweep(one.writer, gone, keeping, metrics, system_clock, one.member)
        assert b"pointsman_requests_total{" not in other.writer.totals.render()
        assert other.shown() == 1


def test_a_budget_knows_what_others_spend(url: str) -> None:
    """What each replica's replays have cost is told apart, for the last hour."""
    for name, cost in (("a", 5), ("b", 7)):
        own = Replica(name)
        with Store(url, replica=own) as store:
            join(store.db, own)
            note = ShadowNote(POLICY, ROLLOUT, "replayed", cost, f"request-{name}")
            store.write(Batch(cases=[note], now_us=10_000_000))
    assert spent(Server(url), POLICY, 1.0, "a") == [(10.0, 5)]
    assert spent_by_others(Server(url), 1.0, "a") == {POLICY: 7}
    assert spent_by_others(Server(url), 11.0, "a") == {}


async def test_a_password_comes_from_a_file_and_is_never_told(tmp_path: Path) -> None:
    """With the right one the store opens; a wrong one is an error that holds neither."""
    file = tmp_path / "password"
    with Postgres(tmp_path, password="right-word") as server:
        file.write_text("right-word\n")
        Store(Server(server.url, file)).close()
        file.write_text("wrong-word\n")
        wrong = reading(Server(server.url, file))
        with pytest.raises(UnavailableError, match="password authentication failed") as refused, wrong:
            pass
        assert "wrong-word" not in str(refused.value)


async def test_a_commit_that_nobody_confirmed_counts_once(url: str) -> None:
    """The connection ends between commit and answer: tried again, rows are counted and scored once."""
    policies = known_policies(status=rollout_status())
    with Background() as loop:  # of its own: a store that is being opened waits for it
        way = Partition(url)
        loop.run(way.__aenter__())
        async with replica(way.url, "a", policies) as a:
            await counts_each_once(url, way, a)
        loop.run(way.__aexit__())


async def counts_each_once(url: str, way: Partition, a: One) -> None:
    """Offer requests of a rollout, each in a commit that nobody confirms."""
    served = {"rollout": ROLLOUT, "step": 3, "arm": "incumbent"}
    a.tasks[1].cancel()  # the heartbeat: its commits are not meant
    a.writer.totals.trusted = lambda: True
    for number in range(5):
        way.silence_commits = 1
        a.writer.offer(record(number, **served))
        await until(lambda: way.silence_commits == 0, 30)
        await until(lambda: a.writer.backlog_s == 0, 20)
    await until(lambda: a.shown() == 5, 20)
    await until(lambda: ask(url, "SELECT count(*) FROM requests WHERE NOT pending") == [(5,)], 20)
    await until(lambda: not a.scoring.scored_until_us(1 << 60), 30)
    with Store(url) as store:
        rows = store.recount()
        assert {series: a.writer.totals.stored()[series] for series in rows} == dict(rows)
