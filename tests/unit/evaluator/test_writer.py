"""The writer: counters follow the store, and nothing stops it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from evaluator_builders import POLICY, capture, file_of, known_policies, record
from evaluator_rig import Rig
from pointsman.evaluator import intake
from pointsman.evaluator import writer as writer_module
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.sweeping import Keeping, sweep
from pointsman.evaluator.totals import Name, Series
from wait import until

ENTRIES = Series(Name.ENTRIES, ())
SCOPE = {"namespace": "chat", "policy": "support", "revision": "support-0123456789"}


async def test_counters_are_those_of_the_contract(rig: Rig) -> None:
    """Names, labels and base units are what Prometheus users expect."""
    async with rig.writer(known_policies()) as writer:
        writer.offer(record(1))
        writer.offer(record(2, served_tier="strong", reason="below_threshold", score=0.1))
        await until(lambda: writer.totals.value(ENTRIES) == 2)
        cheap, strong = SCOPE | {"tier": "cheap"}, SCOPE | {"tier": "strong"}
        assert rig.value("pointsman_requests_total", **cheap, reason="score") == 1
        guards = "pointsman_guard_results_total"
        assert rig.value(guards, **cheap, rubric="answered", outcome="pass") == 1
        assert rig.value(guards, **cheap, rubric="answered", outcome="fail") == 1
        assert rig.value(guards, **strong, rubric="retry", outcome="fail") == 1
        assert rig.value("pointsman_tokens_total", **strong, direction="output") == 20
        assert rig.value("pointsman_cost_usd_total", **cheap) == pytest.approx(0.000027)
        assert rig.value("pointsman_baseline_cost_usd_total", **cheap) == pytest.approx(0.00045)
        assert rig.value("pointsman_decision_seconds_bucket", **SCOPE, le="0.001") == 0
        assert rig.value("pointsman_decision_seconds_bucket", **SCOPE, le="0.002") == 2
        assert rig.value("pointsman_decision_seconds_count", **SCOPE) == 2
        assert rig.value("pointsman_decision_seconds_sum", **SCOPE) == pytest.approx(0.003)
        assert rig.value("pointsman_access_log_lost_total") is None  # no Envoy was asked
        families = list(text_string_to_metric_families(generate_latest(rig.registry).decode()))
        assert all(family.documentation for family in families)


async def test_a_restart_counts_on_from_what_is_stored(rig: Rig) -> None:
    """The exposition after a restart is that of before, sample for sample."""

    def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in rig.registry.collect()
            for sample in family.samples
            if not sample.name.startswith("pointsman_evaluator")
        }

    async with rig.writer(known_policies()) as writer:
        for number in range(20):
            writer.offer(record(number, served_tier="strong" if number % 3 else "cheap"))
        await until(lambda: writer.totals.value(ENTRIES) == 20)
        before = samples()
    async with rig.writer(known_policies()):
        assert samples() == before


async def test_stopping_stores_what_is_queued(rig: Rig) -> None:
    """A graceful stop loses nothing that was received."""
    async with rig.writer(known_policies()) as writer:
        for number in range(5000):
            assert writer.offer(record(number))
    async with rig.writer(known_policies()) as writer:
        assert writer.totals.value(ENTRIES) == 5000


async def test_a_full_queue_drops_and_counts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is refused at once, and the counter says so."""
    monkeypatch.setattr(intake, "MOST_ROWS", 3)
    async with rig.writer(known_policies()) as writer:
        assert [writer.offer(record(number)) for number in range(4)] == [True, True, True, False]
        writer.offer(capture(9))
        dropped = "pointsman_evaluator_dropped_total"
        assert rig.value(dropped, what="access_log", because="queue_full") == 1
        assert rig.value(dropped, what="capture", because="queue_full") == 1
        lost = {"namespace": "chat", "policy": "support", "half": "request", "outcome": "dropped"}
        assert rig.value("pointsman_captures_total", **lost) == 1


async def test_text_that_waits_is_bounded_in_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the store is away: text beyond it is dropped and counted, requests go on to be taken."""
    monkeypatch.setattr(intake, "MOST_BYTES", 1000)
    async with rig.writer(known_policies()) as writer:
        long = Kept("text", "x" * 600, truncated=False)
        assert [writer.offer(capture(number, kept=long)) for number in range(3)] == [True, False, False]
        assert writer.offer(record(1))
        await until(lambda: writer.backlog_s == 0)
        assert writer.offer(capture(4, kept=long))
        assert rig.value("pointsman_evaluator_dropped_total", what="capture", because="queue_full") == 2


async def test_a_request_of_a_rollout_that_is_dropped_is_unscored(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody will know how it went: it counts so for its arm, under every guard, never as answered."""
    monkeypatch.setattr(intake, "MOST_ROWS", 0)
    async with rig.writer(known_policies()) as writer:
        writer.offer(record(1, rollout="0a1b2c3d", step=2, arm="candidate"))
        who = {"namespace": "chat", "policy": "support", "rollout": "0a1b2c3d", "arm": "candidate"}
        which = {"step": "2", "rubric": "answered", "version": "guard", "because": "not_stored"}
        assert rig.value("pointsman_rubric_unscored_total", **who, **which) == 1
        assert writer.totals.value(ENTRIES) == 0


async def test_a_full_disk_drops_counts_and_recovers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no page left rows are dropped and counted, nothing dies; with room again they go in."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.0)
    async with rig.writer(known_policies()) as writer:
        await writer.call(lambda store: file_of(store).execute("PRAGMA max_page_count = 1"))
        big = Kept("text", "x" * 500_000, truncated=False)
        writer.offer(capture(1, kept=big))
        dropped = {"what": "capture", "because": "store_failed"}
        await until(lambda: rig.value("pointsman_evaluator_dropped_total", **dropped) == 1)
        assert "full" in writer.failing
        assert rig.value("pointsman_evaluator_store_up") == 0
        await writer.call(lambda store: file_of(store).execute("PRAGMA max_page_count = 1000000"))
        writer.offer(record(2))
        await until(lambda: writer.totals.value(ENTRIES) == 1)
        assert writer.failing == ""
        assert rig.value("pointsman_evaluator_store_up") == 1


async def test_a_full_disk_that_is_made_room_on_loses_nothing(rig: Rig) -> None:
    """What came while it was full waits, and goes in when there is room; till then the store is failing."""
    async with rig.writer(known_policies()) as writer:
        await writer.call(lambda store: file_of(store).execute("PRAGMA max_page_count = 1"))
        writer.offer(capture(1, kept=Kept("text", "x" * 500_000, truncated=False)))
        for number in range(50):
            writer.offer(record(number))
        await until(lambda: "full" in writer.failing)
        assert writer.totals.value(ENTRIES) == 0
        await writer.call(lambda store: file_of(store).execute("PRAGMA max_page_count = 1000000"))
        await until(lambda: writer.totals.value(ENTRIES) == 50, 10)
        assert writer.failing == ""
        assert rig.value("pointsman_evaluator_dropped_total", what="capture", because="store_failed") is None


async def test_a_store_that_failed_is_tried_without_traffic(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluator that is not ready gets no traffic: it must find out by itself that its store is back."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.0)
    monkeypatch.setattr(writer_module, "TRY_S", 0.05)
    async with rig.writer(known_policies()) as writer:
        await writer.call(lambda store: file_of(store).execute("PRAGMA max_page_count = 1"))
        writer.offer(capture(1, kept=Kept("text", "x" * 500_000, truncated=False)))
        dropped = {"what": "capture", "because": "store_failed"}
        await until(lambda: rig.value("pointsman_evaluator_dropped_total", **dropped) == 1)
        await until(lambda: writer.failing == "")


async def test_a_locked_store_delays_and_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the file for a while: the batch is written when it lets go."""
    async with rig.writer(known_policies()) as writer:
        await writer.call(lambda store: file_of(store).execute("PRAGMA busy_timeout = 10"))
        other = sqlite3.connect(rig.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writer.offer(record(1))
        await until(lambda: "locked" in writer.failing)
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: writer.totals.value(ENTRIES) == 1)


async def test_a_row_that_cannot_be_stored_costs_no_other(rig: Rig) -> None:
    """A number beyond 64 bits is dropped alone."""
    async with rig.writer(known_policies()) as writer:
        for item in (record(1), replace(record(2), duration_us=1 << 70), record(3)):
            writer.offer(item)
        await until(lambda: writer.totals.value(ENTRIES) == 2)
        dropped = {"what": "access_log", "because": "store_failed"}
        await until(lambda: rig.value("pointsman_evaluator_dropped_total", **dropped) == 1)


async def test_rows_wait_for_prices_at_the_start(rig: Rig) -> None:
    """A request that comes in before its policy was listed still has a cost."""
    policies = Policies()
    async with rig.writer(policies) as writer:
        writer.offer(record(1))
        ready = known_policies()
        policies._policies |= ready._policies
        policies.synced.set()
        await until(lambda: writer.totals.value(ENTRIES) == 1)
        assert (
            writer.totals.value(Series(Name.COST, ("chat", "support", "support-0123456789", "cheap")))
            == 27_000
        )


async def test_the_sweep_follows_the_clock_and_the_policies(rig: Rig) -> None:
    """Text goes by its policy's retention, rows after 30 days, series of a deleted policy a day after it."""
    policies = known_policies({"samplePermille": 1000, "retention": "2h"})
    metrics = ProcessMetrics(CollectorRegistry())
    keeping = Keeping()

    def swept(what: str) -> float:
        return float(metrics.swept.labels(what)._value.get())

    async with rig.writer(policies) as writer:
        writer.offer(record(1))
        writer.offer(capture(1, retention_s=10_000_000))
        await until(lambda: writer.totals.value(ENTRIES) == 1)
        rig.clock.go(7200)
        await sweep(writer, policies, keeping, metrics, rig.clock)
        assert (swept("text"), swept("request")) == (0, 0)
        rig.clock.go(1)
        await sweep(writer, policies, keeping, metrics, rig.clock)
        assert (swept("text"), swept("request")) == (1, 0)
        rig.clock.go(30 * 86_400)
        await sweep(writer, policies, keeping, metrics, rig.clock)
        assert swept("request") == 1
        requests = SCOPE | {"tier": "cheap", "reason": "score"}
        policies.put_policy(POLICY, None)
        await sweep(writer, policies, keeping, metrics, rig.clock)
        assert rig.value("pointsman_requests_total", **requests) == 1
        rig.clock.go(86_401)
        await sweep(writer, policies, keeping, metrics, rig.clock)
        assert rig.value("pointsman_requests_total", **requests) is None
        assert rig.value("pointsman_access_log_entries_total") == 1
