"""Answers that are not what the contract says are refused, not guessed at."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.rollout.evidence import StreamKey, Tally
from pointsman.rollout.reading.freshness import Freshness, heartbeat, intervals
from pointsman.rollout.reading.halves import HalvesHistory
from pointsman.rollout.reading.results import Cell, results
from pointsman.rollout.reading.series import RolloutKey, Stream, parse

KEY = RolloutKey("chat", "support", "abcd1234")
LABELS = {
    "namespace": "chat",
    "policy": "support",
    "rollout": "abcd1234",
    "arm": "candidate",
    "step": "3",
    "rubric": "correct",
    "version": "v1",
    "outcome": "pass",
}
CORRECT = Stream("correct", "v1")


def vector(value: object, **labels: str) -> dict[str, Any]:
    """Return a vector's element as Prometheus writes it."""
    return {"metric": LABELS | labels, "value": [100.0, str(value)]}


def test_an_intent_counts_for_itself_and_for_all() -> None:
    """An answer of unknown intent counts overall only."""
    found = results(parse([vector(5, intent="law"), vector(2), vector(1, outcome="fail")]))[100_000][KEY]
    assert found[Cell(3, CORRECT)].candidate == Tally(7, 8)
    assert found[Cell(3, Stream("correct", "v1", "law"))].candidate == Tally(5, 5)


@pytest.mark.parametrize(
    "bad",
    [vector("NaN"), vector(-1), vector(0.5), vector("+Inf"), vector(1, arm="third"), vector(1, step="last")],
)
def test_what_is_no_count_is_refused(bad: dict[str, Any]) -> None:
    """A value that no counter can have, or a label that the contract does not know."""
    with pytest.raises((ValueError, KeyError, OverflowError)):
        results(parse([bad]))


def beat(now_s: float, **at_s: float) -> list[Any]:
    """Return the heartbeat of evaluators by name, each of which tells of the rollout."""
    who = {name: KEY._asdict() | {"job": "evaluator", "instance": name} for name in at_s}
    entries = [{"metric": {}, "value": [now_s, str(now_s)]}]
    for name, at in at_s.items():
        entries.append({"metric": who[name], "value": [now_s, str(at)]})
        entries.append({"metric": {"job": "evaluator", "instance": name}, "value": [now_s, str(at)]})
    return parse(entries)


def test_a_scrape_is_fresh_for_three_intervals_and_fifteen_seconds_at_least() -> None:
    """Then it is stale, and the words say since when."""
    freshness = Freshness()
    freshness.take(heartbeat(beat(115, one=100)))
    assert freshness.of_rollout(KEY, 0) is None
    freshness.take(heartbeat(beat(116, one=100)))
    trouble = freshness.of_rollout(KEY, 0)
    assert trouble is not None
    assert "was last scraped 16 s ago (at most 15 s)" in trouble[1]
    raw = {"metric": {"job": "evaluator", "instance": "one"}, "values": [[n, "1"] for n in (10, 40, 70, 100)]}
    freshness.intervals = intervals(parse([raw]))
    assert freshness.of_rollout(KEY, 0) is None
    freshness.take(heartbeat(beat(191, one=100)))
    assert freshness.of_rollout(KEY, 0) is not None


def test_the_past_of_a_moved_evaluator_is_not_added_to_its_present() -> None:
    """Two that tell of one rollout, one of them no longer scraped: for a while counts could be double."""
    freshness = Freshness()
    freshness.take(heartbeat(beat(110, old=100, new=110)))
    freshness.intervals = dict.fromkeys(heartbeat(beat(1, old=1, new=1)).evaluators, 2.0)
    trouble = freshness.of_rollout(KEY, 0)
    assert trouble is not None
    assert "behind" in trouble[1]
    freshness.take(heartbeat(beat(112, old=111, new=112)))
    assert freshness.of_rollout(KEY, 0) is None


def test_halves_of_a_window_whose_ends_were_not_both_read_are_left_out() -> None:
    """Two windows in one would look calmer than one is."""
    history = HalvesHistory(1000, 8)
    counts = [{CORRECT: (n, 0, n, n)} for n in (1, 2, 3, 5)]
    readable = {1000: counts[0], 2000: counts[1], 4000: counts[2], 5000: counts[3]}
    for at in range(1000, 6000, 1000):
        history.cut(at, readable.get(at))
    ((_, windows),) = history.windows({"correct": "v1"}).items()
    assert [(w.a, w.b) for w in windows] == [(Tally(1, 1), Tally(1, 2)), (Tally(2, 2), Tally(2, 4))]
    assert history.due(7500) == range(6000, 8000, 1000)


def test_only_the_latest_halves_are_kept_and_read() -> None:
    """After a long pause the windows between are not read at all."""
    history = HalvesHistory(1000, 3)
    assert history.due(100_500) == range(97_000, 101_000, 1000)
    for at in history.due(100_500):
        history.cut(at, {CORRECT: (at, 0, at, 0)})
    assert len(history.windows({"correct": "v1"})[StreamKey("correct")]) == 3
    assert history.due(200_500) == range(197_000, 201_000, 1000)
