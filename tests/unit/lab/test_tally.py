"""What clients saw."""

from __future__ import annotations

import pytest

from pointsman.lab.demo.letters import letter
from pointsman.lab.demo.result import Price
from pointsman.lab.demo.tally import Counts, Tally
from pointsman.lab.load import Outcome, Prompt, drawn


def _outcome(
    text: str = "The answer is (A).",
    *,
    tier: str = "cheap",
    status: int = 200,
    sent: float = 0,
    by: str = "r",
) -> Outcome:
    return Outcome("p", "s", sent, sent + 9, status, tier, by, "score", text, 1_000_000, 0)


def _tally() -> Tally:
    return Tally({"p": "A"}, {"p": 4.0}, {"cheap": Price(1.0, 2.0)}, letter, now_minus_monotonic=1000.0)


def test_right_wrong_and_failed_are_told_apart() -> None:
    """An error, an empty answer and an unknown tier are no right answers; every one is a request."""
    tally = _tally()
    for outcome in (_outcome(), _outcome("B"), _outcome(""), _outcome(status=503), _outcome(tier="")):
        tally.add(outcome)
    counts = tally.counts()
    assert (counts.requests, counts.right, counts.failed, counts.empty) == (5, 1, 2, 1)
    assert counts.accuracy == pytest.approx(0.2)


def test_a_difference_is_what_came_since() -> None:
    """Sums of an act are the sums at its end minus those at its begin."""
    tally = _tally()
    tally.add(_outcome())
    before = tally.counts()
    tally.add(_outcome())
    since = tally.counts() - before
    assert since == Counts(1, 0, 0, 1, 1.0, 4.0)
    assert since.saved == pytest.approx(0.75)


def test_the_last_decision_of_a_revision_is_the_last_that_was_sent_not_the_last_answered() -> None:
    """In Unix time; a slow answer that was decided long ago is not a late decision."""
    tally = _tally()
    for outcome in (_outcome(sent=5, by="old"), _outcome(sent=3, by="old"), _outcome(sent=9, by="new")):
        tally.add(outcome)
    assert tally.last_sent == {"old": 1005.0, "new": 1009.0}


def test_prompts_are_drawn_with_equal_chances_and_repeatably() -> None:
    """One seed gives one sequence, and each prompt its share."""
    every = [Prompt(str(at), "") for at in range(4)]
    one, two = drawn(every, seed=1), drawn(every, seed=1)
    ids = [next(one).id for _ in range(4000)]
    assert ids == [next(two).id for _ in range(4000)]
    assert all(900 < ids.count(str(at)) < 1100 for at in range(4))
