"""Many policies, one Prometheus: what a look costs; and what those who wait for evidence are told."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import CollectorRegistry

from evidence_kit import Exporter, now_s, question, target
from pointsman.clock import system_clock
from pointsman.controllers.evidence import EvidenceMetrics, EvidenceReader
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.prometheus import Prometheus
from pointsman.rollout.evidence import Question, StreamKey, Trouble
from wait import until

pytestmark = pytest.mark.prometheus

POLICIES = 200


@dataclass
class Reading:
    """A running reader, whom it told of changes, and its metrics."""

    reader: EvidenceReader
    told: list[str]
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 if it has none."""
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def reading(interval_s: float = 1.0) -> AsyncIterator[Reading]:
    """Run a reader."""
    told: list[str] = []
    registry = CollectorRegistry()
    reader = EvidenceReader(told.append, EvidenceMetrics(registry), system_clock, interval_s=interval_s)
    try:
        yield Reading(reader, told, registry)
    finally:
        await reader.close()


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    """Return the counts of 200 policies with a rollout each, 24 series of results for each."""
    with Exporter() as running:
        for n in range(POLICIES):
            who = {"namespace": f"team-{n}", "policy": "support"}
            running.know("abcd1234", **who)
            for intent in ("law", "math", ""):
                for arm in ("incumbent", "candidate"):
                    running.served("abcd1234", 0, arm, n, 1, intent=intent, **who)
                    running.served(
                        "abcd1234", 0, arm, n, 1, intent=intent, rubric="answered", version="guard", **who
                    )
        yield running


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Return a Prometheus that scrapes them every second."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {"evaluator": target(exporter)}) as running:
        yield running


def asked(url: str, n: int, begun_s: float) -> Question:
    """Return one of the policies' questions."""
    return replace(question("abcd1234", begun_s), namespace=f"team-{n}", prometheus=url)


async def test_two_hundred_policies_are_one_set_of_queries(prometheus: Prometheus) -> None:
    """Each gets its own counts, and the number of queries does not grow with the number of policies."""
    begun = now_s() - 10
    async with reading() as running:
        questions = [asked(prometheus.url, n, begun) for n in range(POLICIES)]

        def answered() -> bool:
            return not [one for one in questions if running.reader.evidence(one).trouble]

        await until(answered, 20, 0.2)
        for n, one in enumerate(questions):
            (window, *_) = running.reader.evidence(one).canary[StreamKey("correct")]
            assert (window.candidate.passes, window.candidate.total) == (3 * n, 3 * n + 3)
        looks = running.metric("pointsman_operator_evidence_looks_total", outcome="ok")
        queries = running.metric("pointsman_operator_prometheus_queries_total", outcome="ok")
        assert queries / looks < 25
        assert set(running.told) == {f"team-{n}/support" for n in range(POLICIES)}


async def test_one_look_for_all_leaves_nobody_waiting(prometheus: Prometheus) -> None:
    """A new question is answered at once, not after the interval; another step keeps what is known."""
    async with reading(interval_s=60) as running:
        one = asked(prometheus.url, 7, now_s() - 10)
        assert running.reader.evidence(one).trouble == Trouble.NOT_YET
        await until(lambda: running.reader.evidence(one).trouble is None, 10)
        further = replace(one, steps=(*one.steps, (1, now_s())))
        assert running.reader.evidence(further).canary[StreamKey("correct")][0].candidate.passes == 21
        other = replace(one, rollout="ffff0000")
        assert running.reader.evidence(other).trouble == Trouble.NOT_YET
        assert running.reader.evidence(other).canary == {}


async def test_only_what_is_new_is_told(prometheus: Prometheus, exporter: Exporter) -> None:
    """Looks that find the same counts enqueue nobody; one more answer enqueues the one policy."""
    begun = now_s() - 10
    async with reading() as running:
        questions = [asked(prometheus.url, n, begun) for n in (1, 2)]
        await until(lambda: not [one for one in questions if running.reader.evidence(one).trouble], 10)
        looks = running.metric("pointsman_operator_evidence_looks_total", outcome="ok")
        running.told.clear()
        exporter.served("abcd1234", 0, "candidate", 1, 0, namespace="team-2")
        await until(lambda: "team-2/support" in running.told, 10)
        await until(
            lambda: running.metric("pointsman_operator_evidence_looks_total", outcome="ok") > looks + 2, 10
        )
        assert set(running.told) == {"team-2/support"}


async def test_a_prometheus_that_does_not_answer_holds_up_nobody_else(prometheus: Prometheus) -> None:
    """Its policies hear that it is unreachable; the others' evidence comes as ever."""
    async with reading() as running:
        dead = asked(f"http://{LOCALHOST}:{free_port()}", 1, now_s())
        good = asked(prometheus.url, 2, now_s() - 10)
        running.reader.evidence(dead)
        await until(lambda: running.reader.evidence(good).trouble is None, 10)
        await until(lambda: running.reader.evidence(dead).trouble == Trouble.UNREACHABLE, 10)
        assert "does not answer" in running.reader.evidence(dead).words
        running.reader.withdraw("team-1/support")
        running.reader.withdraw("team-2/support")
        assert running.metric("pointsman_operator_evidence_questions") == 0


async def test_who_has_no_prometheus_is_told_which_field_to_set() -> None:
    """Without an address nothing is asked."""
    async with reading() as running:
        evidence = running.reader.evidence(asked("", 1, now_s()))
        assert evidence.trouble == Trouble.NOT_CONFIGURED
        assert "spec.evaluation.prometheus" in evidence.words


async def test_a_look_at_two_hundred_policies_is_cheap(prometheus: Prometheus) -> None:
    """A look takes a fraction of the interval: bounded here far above what it takes, for slow machines."""
    begun = now_s() - 10
    async with reading() as running:
        questions = [asked(prometheus.url, n, begun) for n in range(POLICIES)]
        started = time.process_time()
        for one in questions:
            running.reader.evidence(one)
        await until(lambda: running.metric("pointsman_operator_evidence_looks_total", outcome="ok") >= 3, 20)
        took = running.metric("pointsman_operator_evidence_look_duration_seconds_sum")
        size = running.metric("pointsman_operator_prometheus_bytes_total")
        print(
            f"3 looks: {took * 1000:.0f} ms, CPU {time.process_time() - started:.2f} s, {size / 1e6:.1f} MB"
        )
        assert took < 6
