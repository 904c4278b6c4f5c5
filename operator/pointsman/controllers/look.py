"""One look at one Prometheus on behalf of all policies that name it: queries out, evidence in. Blocking."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pointsman.controllers.prometheus import PrometheusError
from pointsman.rollout.evidence import Ended, Evidence, Moments, Question, ShadowProgress, StreamKey, Trouble
from pointsman.rollout.reading import totals
from pointsman.rollout.reading.ends import ends
from pointsman.rollout.reading.freshness import Freshness, Heartbeat, heartbeat, intervals
from pointsman.rollout.reading.halves import HalvesHistory, halves
from pointsman.rollout.reading.results import Results, coverage, results
from pointsman.rollout.reading.series import RevisionKey, RolloutKey, Series, Stream
from pointsman.rollout.reading.windows import History, WentBackwardsError, stride_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pointsman.controllers.prometheus import Prometheus
    from pointsman.rollout.evidence import PairCounts

log = logging.getLogger(__name__)

SLOW_S: Final = 60.0
"""How old moments and costs may get between windows."""
INTERVALS_S: Final = 60.0
REBUILD_S: Final = 30.0
"""How often a history that contradicts the present is read anew."""
LOOK_S: Final = 30.0
"""Longest look. What it has read stays; the next one goes on from there."""
CHUNK: Final = 48
"""Times read with one range query."""

_SCORED: Final = "pointsman_rollout_scored_until_timestamp_seconds"
_ENTRIES: Final = "pointsman_access_log_entries_total"
_RESULTS: Final = (
    "sum by (namespace,policy,rollout,arm,step,intent,rubric,version,outcome) "
    '(pointsman_rubric_results_total{rollout!=""})'
)
_HALVES: Final = (
    "sum by (namespace,policy,revision,rubric,version,intent,half,outcome) (pointsman_rubric_halves_total)"
)
_HEARTBEAT: Final = f"timestamp({_SCORED}) or timestamp({_ENTRIES}) or vector(time())"
_TOLD_BY: Final = f"count by (namespace,policy,rollout) ({_SCORED})"
_MOMENTS: Final = (
    "sum by (namespace,policy,revision,rubric,version,moment) (pointsman_rubric_session_moments_total)"
)
_PASSED: Final = "sum by (namespace,policy,revision,rubric,version,outcome) (pointsman_rubric_halves_total)"
# Several evaluators' parts of a gate: each may be below zero where one took up what another had begun.
_GATE_CASES: Final = "sum by (namespace,policy,rollout,state) (pointsman_gate_cases)"
_GATE_MOMENTS: Final = "sum by (namespace,policy,rollout,rubric,version,moment) (pointsman_gate_moments)"
# An evaluator that is just away has not forgotten.
_ENDED: Final = (
    "max by (namespace,policy,uid,revision,ended,attempt,outcome) "
    "(last_over_time(pointsman_rollout_ended_timestamp_seconds[10m]))"
)
_LOST: Final = (
    "counts of this rollout are smaller than they were: what was counted is lost; "
    "a RolloutAction Retry begins a new attempt with counts of its own"
)
_BY_REVISION: Final = "sum by (namespace,policy,revision) "


@dataclass(frozen=True, slots=True)
class _Slow:
    """What is asked for more seldom."""

    moments: Mapping[RevisionKey, Mapping[tuple[str, str], Moments]] = field(default_factory=dict)
    cost: Mapping[RevisionKey, float] = field(default_factory=dict)
    baseline: Mapping[RevisionKey, float] = field(default_factory=dict)
    priced: Mapping[RevisionKey, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Live:
    """What the rollouts under way are at one time."""

    scored_until: Mapping[RolloutKey, float]
    results: Results
    unscored: Mapping[RolloutKey, Mapping[tuple[Stream, str], int]]
    pairs: Mapping[RolloutKey, Mapping[Stream, PairCounts]]
    shadow: Mapping[RolloutKey, ShadowProgress]
    gates: totals.Gates


class Looker:
    """Remembers closed windows between looks. Used by one thread at a time."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._freshness = Freshness()
        self._histories: dict[RolloutKey, History] = {}
        self._rebuilt: dict[RolloutKey, float] = {}
        self._halves: dict[RevisionKey, HalvesHistory] = {}
        self._slow = _Slow()
        self._ended: dict[tuple[str, str], tuple[Ended, ...]] = {}
        self._asked: frozenset[RolloutKey] = frozenset()
        self._ended_at = float("-inf")
        self._slow_at = self._intervals_at = float("-inf")
        self._end = 0.0

    def look(self, questions: Sequence[Question]) -> dict[Question, Evidence]:
        """Ask what has to be asked, and answer every question. `PrometheusError`."""
        self._end = time.monotonic() + LOOK_S
        try:
            return self._look(questions)
        except (ValueError, KeyError, TypeError) as error:
            words = f"{self._prometheus.url} has counts that this version does not read ({error!r})"
            raise PrometheusError(words[:300]) from error

    def _look(self, questions: Sequence[Question]) -> dict[Question, Evidence]:
        beat = heartbeat(self._ask(_HEARTBEAT))
        self._learn_intervals(beat)
        self._freshness.take(beat)
        live = None
        running = [question for question in questions if question.rollout]
        if running:
            live = self._live(beat.newest_ms)
            self._follow_rollouts(running, beat)
        else:
            self._histories.clear()
        self._follow_halves(questions, beat)
        self._read_ends(questions, beat.newest_ms)
        return {question: self._answer(question, beat, live) for question in questions}

    def _ask(self, query: str, at_ms: int | None = None) -> list[Series]:
        if time.monotonic() > self._end:
            raise PrometheusError(f"{self._prometheus.url} is slow: a look takes more than {LOOK_S:.0f} s")
        return self._prometheus.ask(query, at_ms)

    def _ask_at(self, query: str, times: Sequence[int]) -> list[Series]:
        if time.monotonic() > self._end:
            raise PrometheusError(f"{self._prometheus.url} is slow: a look takes more than {LOOK_S:.0f} s")
        return self._prometheus.ask_at(query, times)

    def _learn_intervals(self, beat: Heartbeat) -> None:
        """Learn how often each evaluator is scraped."""
        known = beat.evaluators.keys() <= self._freshness.intervals.keys()
        if known and time.monotonic() - self._intervals_at < INTERVALS_S:
            return
        self._freshness.intervals = intervals(self._ask(f"{_ENTRIES}[5m]"))
        self._intervals_at = time.monotonic()

    # -- rollouts --------------------------------------------------------------------------------------------

    def _live(self, at_ms: int) -> _Live:
        """Read all families at one moment, so that they tell of the same scrape."""

        def ask(query: str) -> list[Series]:
            return self._ask(query, at_ms)

        until: dict[RolloutKey, float] = {}
        for one in ask(_SCORED):
            until[one.rollout] = min(one.last, until.get(one.rollout, one.last))
        return _Live(
            scored_until=until,
            results=results(ask(_RESULTS)).get(at_ms, {}),
            unscored=totals.unscored(
                ask(
                    "sum by (namespace,policy,rollout,arm,rubric,version,because) "
                    "(pointsman_rubric_unscored_total)"
                )
            ),
            pairs=totals.pairs(ask("pointsman_rubric_pairs_total"), "shadow"),
            shadow=totals.shadow_progress(
                ask("pointsman_shadow_requests_total"), ask("pointsman_shadow_cost_usd_total")
            ),
            gates=totals.Gates(ask(_GATE_CASES), ask(_GATE_MOMENTS)),
        )

    def _follow_rollouts(self, questions: Sequence[Question], beat: Heartbeat) -> None:
        """Cut the rollouts' counts at every aligned time that has passed."""
        asked = {_rollout(question): question for question in questions}
        for known in self._histories.keys() - asked.keys():
            del self._histories[known]
        by_stride: dict[int, dict[RolloutKey, range]] = {}
        for key, question in asked.items():
            history = self._history(key, question, beat)
            told_by = beat.rollouts.get(key)
            if told_by:
                times_of = by_stride.setdefault(history.stride_ms, {})
                times_of[key] = history.due(min(told_by.values()))
        for stride, due_of in by_stride.items():
            for times in _chunks(due_of.values(), stride):
                told_by_then = _counts(self._ask_at(_TOLD_BY, times))
                then = results(self._ask_at(_RESULTS, times))
                for key, its in due_of.items():
                    now = len(beat.rollouts[key])
                    for at in times:
                        if at in its:
                            told = told_by_then.get(at, {}).get(key, 0)
                            # more evaluators than now: one has gone, and its counts with it
                            cells = then.get(at, {}).get(key, {}) if 0 < told <= now else None
                            self._histories[key].cut(at, cells)

    def _history(self, key: RolloutKey, question: Question, beat: Heartbeat) -> History:
        begun_ms = round(question.steps[0][1] * 1000) if question.steps else beat.now_ms
        stride = stride_ms(round(question.window_s * 1000), begun_ms, beat.now_ms)
        known = self._histories.get(key)
        if known is not None and known.stride_ms == stride and known.extends_to(question.steps):
            known.steps = question.steps
            return known
        self._histories[key] = History(stride, question.steps)
        return self._histories[key]

    def _read_ends(self, questions: Sequence[Question], at_ms: int) -> None:
        """Read how attempts ended: for a rollout that is new to us at once, for it may have ended before."""
        asked = frozenset(_rollout(question) for question in questions)
        if asked <= self._asked and time.monotonic() - self._ended_at < SLOW_S:
            return
        self._ended = ends(self._ask(_ENDED, at_ms))
        self._asked, self._ended_at = asked, time.monotonic()

    # -- revisions -------------------------------------------------------------------------------------------

    def _follow_halves(self, questions: Sequence[Question], beat: Heartbeat) -> None:
        """Cut the halves at every aligned time that has passed; then, and at times, read what is slow."""
        wanted = self._wanted_halves(questions)
        fresh = wanted.keys() - self._halves.keys()
        self._halves = wanted
        by_window: dict[int, dict[RevisionKey, range]] = {}
        for key, history in wanted.items():
            due = history.due(beat.settled_ms) if beat.evaluators else range(0)
            if due:
                by_window.setdefault(history.window_ms, {})[key] = due
        for window_ms, due_of in by_window.items():
            for times in _chunks(due_of.values(), window_ms):
                then = halves(self._ask_at(_HALVES, times))
                for key, its in due_of.items():
                    for at in times:
                        if at in its:
                            wanted[key].cut(at, then.get(at, {}).get(key))
        if fresh or by_window or time.monotonic() - self._slow_at > SLOW_S:
            self._read_slow(beat.newest_ms)

    def _wanted_halves(self, questions: Sequence[Question]) -> dict[RevisionKey, HalvesHistory]:
        wanted: dict[RevisionKey, HalvesHistory] = {}
        for question in questions:
            if question.incumbent and question.noise_windows:
                key = RevisionKey(question.namespace, question.policy, question.incumbent)
                window_ms, known = round(question.window_s * 1000), self._halves.get(key)
                same = known is not None and known.fits(window_ms, question.noise_windows)
                wanted[key] = known if known and same else HalvesHistory(window_ms, question.noise_windows)
        return wanted

    def _read_slow(self, at_ms: int) -> None:
        def by_revision(name: str) -> dict[RevisionKey, float]:
            return totals.sums(self._ask(f"{_BY_REVISION}({name})", at_ms))

        self._slow = _Slow(
            moments=totals.moments(self._ask(_MOMENTS, at_ms), self._ask(_PASSED, at_ms)),
            cost=by_revision("pointsman_cost_usd_total"),
            baseline=by_revision("pointsman_baseline_cost_usd_total"),
            priced=by_revision("pointsman_request_cost_usd_count"),
        )
        self._slow_at = time.monotonic()

    # -- answers ---------------------------------------------------------------------------------------------

    def _answer(self, question: Question, beat: Heartbeat, live: _Live | None) -> Evidence:
        versions = dict(question.versions)
        incumbent = RevisionKey(question.namespace, question.policy, question.incumbent)
        stable = RevisionKey(question.namespace, question.policy, question.stable)
        history = self._halves.get(incumbent)
        words = self._freshness.of_evaluator()
        evidence = Evidence(
            at_s=beat.newest_ms / 1000,
            trouble=Trouble.STALE if words else None,
            words=words,
            halves=history.windows(versions) if history else {},
            moments={
                rubric: moments
                for (rubric, version), moments in self._slow.moments.get(incumbent, {}).items()
                if versions.get(rubric) == version
            },
            cost_usd=self._slow.cost.get(stable, 0.0),
            baseline_cost_usd=self._slow.baseline.get(stable, 0.0),
            priced_requests=int(self._slow.priced.get(stable, 0)),
            ended=self._ended.get((question.namespace, question.policy), ()),
        )
        if live is None or not question.rollout:
            return evidence
        return self._of_rollout(question, evidence, live, versions)

    def _of_rollout(
        self, question: Question, evidence: Evidence, live: _Live, versions: dict[str, str]
    ) -> Evidence:
        key = _rollout(question)
        trouble = self._freshness.of_rollout(key, question.steps[0][1] if question.steps else 0.0)
        cells = live.results.get(key, {})
        try:
            windows = self._histories[key].windows(cells, versions)
        except WentBackwardsError:
            windows = {}
            self._rebuild_later(key)
            trouble = trouble or (Trouble.STALE, _LOST)
        scored = coverage(cells, live.unscored.get(key, {}))
        return replace(
            evidence,
            trouble=trouble[0] if trouble else None,
            words=trouble[1] if trouble else "",
            scored_until_s=live.scored_until.get(key, 0.0),
            canary=windows,
            shadow={
                StreamKey(stream.rubric, stream.intent): counts
                for stream, counts in live.pairs.get(key, {}).items()
                if versions.get(stream.rubric) == stream.version
            },
            shadow_progress=live.shadow.get(key, ShadowProgress()),
            gate=live.gates.progress(key, versions),
            coverage={
                (stream.rubric, arm): found
                for (stream, arm), found in scored.items()
                if versions.get(stream.rubric) == stream.version
            },
        )

    def _rebuild_later(self, key: RolloutKey) -> None:
        """Have the windows read anew at the next look: perhaps a cut was read while an evaluator moved."""
        now = time.monotonic()
        if now - self._rebuilt.get(key, float("-inf")) > REBUILD_S:
            self._rebuilt = {k: at for k, at in self._rebuilt.items() if now - at <= REBUILD_S} | {key: now}
            del self._histories[key]


def _rollout(question: Question) -> RolloutKey:
    return RolloutKey(question.namespace, question.policy, question.rollout)


def _counts(series: Iterable[Series]) -> dict[int, dict[RolloutKey, int]]:
    """Return by time how many evaluators told of each rollout."""
    found: dict[int, dict[RolloutKey, int]] = {}
    for one in series:
        for at, value in one.points:
            found.setdefault(at, {})[one.rollout] = int(value)
    return found


def _chunks(ranges: Iterable[range], step: int) -> list[range]:
    """Return all times of some ranges of one step, in order and in pieces of at most `CHUNK`."""
    wanted = [its for its in ranges if its]
    if not wanted:
        return []
    whole = range(min(its[0] for its in wanted), max(its[-1] for its in wanted) + step, step)
    return [whole[begin : begin + CHUNK] for begin in range(0, len(whole), CHUNK)]
