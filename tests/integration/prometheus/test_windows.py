"""Counts read from a real Prometheus: windows that add up, however Prometheus and evaluator fare."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from evidence_kit import Exporter, ask, looker, now_s, question, target
from pointsman.controllers.look import Looker
from pointsman.controllers.prometheus import PrometheusError
from pointsman.lab.prometheus import Prometheus
from pointsman.rollout.evidence import (
    ArmCoverage,
    Evidence,
    PairCounts,
    Question,
    StreamKey,
    Tally,
    Trouble,
    Window,
)
from wait import until_sync

pytestmark = pytest.mark.prometheus

CORRECT = StreamKey("correct")
YOUNG_S = 30


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    """Return an evaluator's counts that several rollouts share."""
    with Exporter() as running:
        yield running


@pytest.fixture(scope="module")
def url(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Prometheus that scrapes it every second."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {"evaluator": target(exporter)}) as running:
        yield running.url


def total(windows: tuple[Window, ...]) -> tuple[Tally, Tally]:
    """Return both arms' counts of all windows: to compare, not to conclude from."""
    arms = zip(*((w.incumbent, w.candidate) for w in windows), strict=True)
    incumbent, candidate = (Tally(sum(t.passes for t in arm), sum(t.total for t in arm)) for arm in arms)
    return incumbent, candidate


def seen(
    reader: Looker, one: Question, holds: Callable[[Evidence], bool], *, deadline_s: float = 15
) -> Evidence:
    """Look until the evidence is as wanted; return it."""
    found: list[Evidence] = []

    def check() -> bool:
        try:
            found[:] = [ask(reader, one)]
        except PrometheusError:
            return False
        return holds(found[0])

    until_sync(check, deadline_s, 0.1, "the evidence")
    return found[0]


def counted(candidates: int) -> Callable[[Evidence], bool]:
    """Tell whether there is no trouble, and so many of the candidate's answers."""

    def holds(evidence: Evidence) -> bool:
        windows = evidence.canary.get(CORRECT, ())
        return evidence.trouble is None and sum(w.candidate.total for w in windows) == candidates

    return holds


def three_rounds(exporter: Exporter, reader: Looker, rollout: str) -> tuple[Question, tuple[Window, ...]]:
    """Serve three rounds of requests in two steps, each seen by Prometheus before the next; 1 s windows."""
    exporter.know(rollout)
    begun = now_s()
    one = question(rollout, begun)
    exporter.served(rollout, 0, "incumbent", 7, 3)
    exporter.served(rollout, 0, "candidate", 2, 1)
    seen(reader, one, counted(3))
    passed_second()
    exporter.served(rollout, 0, "incumbent", 10, 0)
    exporter.served(rollout, 0, "candidate", 4, 0)
    seen(reader, one, counted(7))
    one = question(rollout, begun, now_s())
    exporter.served(rollout, 1, "candidate", 5, 5)
    exporter.served(rollout, 0, "candidate", 1, 0)  # scored late: it was served in the step before
    evidence = seen(reader, one, counted(18))
    return one, evidence.canary[CORRECT]


def passed_second() -> None:
    """Wait until a second of the clock has passed whole."""
    second = int(now_s())
    until_sync(lambda: now_s() > second + 2, 5)


def test_windows_are_cut_at_aligned_times_and_at_steps(exporter: Exporter, url: str) -> None:
    """Every answer is in one window of the step in which it was served; windows begin at cuts."""
    one, windows = three_rounds(exporter, looker(url), "windows")
    first = [w for w in windows if w.step == 0]
    assert total(tuple(first)) == (Tally(17, 20), Tally(7, 8))
    assert total(tuple(w for w in windows if w.step == 1))[1] == Tally(5, 10)
    assert len(first) > 1
    begins = [begin for _, begin in one.steps]
    for window in windows:
        begin = pytest.approx(begins[window.step], abs=0.001)
        assert window.start_s == begin or window.start_s == int(window.start_s)
    assert windows == tuple(sorted(windows, key=lambda w: (w.step, w.start_s)))


def test_who_reads_it_all_anew_reads_the_same(exporter: Exporter, url: str) -> None:
    """A fresh process, which knows only Prometheus, gets the very same windows."""
    known = looker(url)
    one, windows = three_rounds(exporter, known, "anew")
    again = seen(looker(url), one, counted(18)).canary[CORRECT]
    assert closed(again) == closed(windows)


def closed(windows: tuple[Window, ...]) -> list[Window]:
    """Return the windows whose end has passed: all but the last of each step."""
    return [w for w, after in pairwise(windows) if w.step == after.step]


def test_a_restarted_evaluator_changes_nothing(tmp_path: Path) -> None:
    """While it is away nothing is concluded; when it is back with its counts, all is as it was."""
    with Exporter() as exporter, Prometheus(tmp_path, {"evaluator": target(exporter)}) as prometheus:
        reader = looker(prometheus.url)
        one, windows = three_rounds(exporter, reader, "restart")
        exporter.stop()
        old = replace(one, steps=((0, one.steps[0][1] - YOUNG_S), *one.steps[1:]))
        gone = seen(looker(prometheus.url), old, lambda e: e.trouble is not None)
        assert (gone.trouble, gone.canary) == (Trouble.STALE, {})
        exporter.start()
        assert total(seen(reader, one, counted(18)).canary[CORRECT]) == total(windows)
        exporter.served("restart", 1, "candidate", 1, 0)
        seen(reader, one, counted(19))


def test_a_killed_prometheus_goes_on(tmp_path: Path) -> None:
    """After kill -9 with its data kept the closed windows are the same, for old readers and new ones."""
    with Exporter() as exporter, Prometheus(tmp_path, {"evaluator": target(exporter)}) as prometheus:
        reader = looker(prometheus.url)
        one, windows = three_rounds(exporter, reader, "killed")
        assert prometheus.child is not None
        prometheus.child.kill()
        with pytest.raises(PrometheusError, match="does not answer"):
            ask(reader, one)
        prometheus.start().wait_ready()
        assert closed(seen(reader, one, counted(18)).canary[CORRECT])[: len(closed(windows))] == closed(
            windows
        )
        assert total(seen(looker(prometheus.url), one, counted(18)).canary[CORRECT]) == total(windows)


def test_an_emptied_prometheus_costs_cuts_not_counts(tmp_path: Path) -> None:
    """What a Prometheus without its data cannot cut any more is one window by step; nothing is lost."""
    with Exporter() as exporter, Prometheus(tmp_path, {"evaluator": target(exporter)}) as prometheus:
        one, windows = three_rounds(exporter, looker(prometheus.url), "emptied")
        prometheus.stop()
        shutil.rmtree(tmp_path / "prometheus" / "data")
        prometheus.start().wait_ready()
        anew = seen(looker(prometheus.url), one, counted(18)).canary[CORRECT]
        assert total(anew) == total(windows)
        assert anew[0].start_s == pytest.approx(one.steps[0][1], abs=0.001)
        assert len(anew) < len(windows)


def test_counts_that_go_backwards_are_no_evidence(exporter: Exporter, url: str) -> None:
    """An evaluator that lost its store is told of; nothing is concluded from what is left."""
    reader = looker(url)
    one, _ = three_rounds(exporter, reader, "lost")
    for key in list(exporter.counts):
        if ("rollout", "lost") in key[1]:
            exporter.counts[key] = 0
    evidence = seen(reader, one, lambda e: e.trouble == Trouble.STALE)
    assert "smaller than they were" in evidence.words
    assert evidence.canary == {}


def test_two_evaluators_add_up_and_one_of_them_alone_decides_nothing(tmp_path: Path) -> None:
    """Counts of both are one; right after one is gone, half of the counts are not taken for all."""
    with Exporter() as one_half, Exporter() as other:
        targets = {"evaluator": target(one_half), "evaluator-2": target(other)}
        with Prometheus(tmp_path, targets) as prometheus:
            reader = looker(prometheus.url)
            asked = question("two", now_s())
            for half in (one_half, other):
                half.know("two")
                half.served("two", 0, "candidate", 3, 0)
            seen(reader, asked, counted(6))
            other.stop()
            evidence = seen(reader, asked, lambda e: e.trouble is not None)
            assert evidence.trouble == Trouble.STALE
            assert "was just lost" in evidence.words


def test_a_rollout_that_nobody_counts_is_not_good_news(exporter: Exporter, url: str) -> None:
    """Missing counts are zero only where the evaluator tells of the rollout."""
    evidence = ask(looker(url), question("unheard", now_s() - 2 * YOUNG_S))
    assert (evidence.trouble, evidence.canary) == (Trouble.STALE, {})
    assert ask(looker(url), question("unheard", now_s())).trouble == Trouble.NOT_YET
    exporter.know("known")
    evidence = seen(looker(url), question("known", now_s()), lambda e: e.trouble is None)
    assert evidence.canary == {}
    assert evidence.scored_until_s == pytest.approx(now_s(), abs=5)


def test_an_evaluator_that_is_never_scraped_is_named(tmp_path: Path) -> None:
    """A Prometheus that scrapes something else holds everything and says what to do."""
    with Prometheus(tmp_path, {}) as prometheus:
        evidence = ask(looker(prometheus.url), question("", window_s=1.0))
        assert evidence.trouble == Trouble.STALE
        assert "have it scrape the evaluator" in evidence.words


def test_an_answer_in_part_is_no_answer(exporter: Exporter, tmp_path: Path) -> None:
    """A Prometheus that warns, because a store behind it does not answer, is not believed."""
    prometheus = Prometheus(tmp_path, {"evaluator": target(exporter)})
    config = tmp_path / "prometheus" / "prometheus.yml"
    remote = '"remote_read": [{"url": "http://127.0.0.1:9/read", "read_recent": true}], "global":'
    config.write_text(config.read_text().replace('"global":', remote, 1))
    with prometheus, pytest.raises(PrometheusError, match="in part"):
        ask(looker(prometheus.url), question("parts", now_s()))


def test_everything_else_that_is_counted_is_read(exporter: Exporter, url: str) -> None:
    """Pairs, coverage, shadow, gate, moments, cost: each as the contract says; no other version's."""
    who = {"namespace": "chat", "policy": "support"}
    run = {**who, "rollout": "all"}
    rubric = {"rubric": "correct", "version": "v1"}
    exporter.know("all")
    for intent, both in (("law", 8), ("", 2)):
        exporter.add(
            "pointsman_rubric_pairs_total",
            both,
            **run,
            **rubric,
            stage="shadow",
            intent=intent,
            outcome="both",
        )
    exporter.add(
        "pointsman_rubric_pairs_total",
        3,
        **run,
        **rubric,
        stage="shadow",
        intent="law",
        outcome="only_incumbent",
    )
    exporter.add(
        "pointsman_rubric_pairs_total", 9, **run, **rubric, stage="gate", intent="law", outcome="both"
    )
    exporter.add(
        "pointsman_rubric_pairs_total",
        9,
        **run,
        rubric="correct",
        version="old",
        stage="shadow",
        outcome="both",
    )
    exporter.served("all", 0, "candidate", 4, 2, intent="law")
    exporter.served("all", 0, "candidate", 1, 0)
    for because, amount in (("no_reference", 5), ("not_applicable", 50)):
        exporter.add(
            "pointsman_rubric_unscored_total",
            amount,
            **run,
            **rubric,
            arm="candidate",
            step="0",
            because=because,
        )
    exporter.add("pointsman_shadow_requests_total", 11, **run, outcome="agreed")
    exporter.add("pointsman_shadow_cost_usd_total", 0.25, **run)
    exporter.add("pointsman_gate_cases", 50, **run, state="total")
    exporter.add("pointsman_gate_cases", 40, **run, state="scored")
    for moment, value in {"n": 40, "d": -2, "dd": 6, "clusters": 20, "DD": 8, "Dn": -3, "nn": 90}.items():
        exporter.add("pointsman_gate_moments", value, **run, **rubric, moment=moment)
    for moment, value in {"xx": 30, "xn": 40, "nn": 60}.items():
        exporter.add(
            "pointsman_rubric_session_moments_total", value, **who, **rubric, revision="r1", moment=moment
        )
    exporter.halved("a", 9, 1, revision="r1")
    exporter.halved("b", 5, 5, revision="r1", intent="law")
    costs = {"cost_usd_total": 1.5, "baseline_cost_usd_total": 3.0, "request_cost_usd_count": 70}
    for name, value_of in costs.items():
        exporter.add(f"pointsman_{name}", value_of, **who, revision="r1", tier="cheap")
    one = question("all", now_s(), incumbent="r1", noise_windows=4, stable="r1")
    found = seen(looker(url), one, counted(7))
    assert found.shadow == {CORRECT: PairCounts(10, 3), StreamKey("correct", "law"): PairCounts(8, 3)}
    assert total(found.canary[StreamKey("correct", "law")])[1] == Tally(4, 6)
    assert found.coverage["correct", "candidate"] == ArmCoverage(7, 5)
    assert (found.shadow_progress.agreed, found.shadow_progress.cost_usd) == (11, 0.25)
    assert (found.gate.total, found.gate.scored, found.gate.rubrics["correct"].D2) == (50, 40, 8)
    assert found.gate.rubrics["correct"].d == -2
    moments = found.moments["correct"]
    assert (moments.xx, moments.xn, moments.nn, moments.passes, moments.total) == (30, 40, 60, 14, 20)
    assert (found.cost_usd, found.baseline_cost_usd, found.priced_requests) == (1.5, 3.0, 70)


def test_the_halves_of_each_window(exporter: Exporter, url: str) -> None:
    """The latest whole windows of the incumbent's own requests, each with both halves; the same anew."""
    reader = looker(url)
    one = question("", window_s=1.0, incumbent="calm", noise_windows=20)
    for n in range(4):
        for half in ("a", "b"):
            exporter.halved(half, 3, 1, revision="calm", intent="law" if n % 2 else "")
        passed_second()
    found = seen(reader, one, lambda e: sum(w.a.total for w in e.halves.get(CORRECT, ())) >= 12)
    assert all(w.a == w.b for w in found.halves[CORRECT])
    assert set(found.halves) == {CORRECT, StreamKey("correct", "law")}
    assert seen(looker(url), one, lambda e: bool(e.halves)).halves == ask(reader, one).halves
