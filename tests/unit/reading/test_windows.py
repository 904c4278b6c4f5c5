"""Windows of a rollout: nothing lost, nothing twice, whatever could not be read."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.rollout.evidence import StreamKey, Tally, Window
from pointsman.rollout.reading.results import Cell, Cells, Counts
from pointsman.rollout.reading.series import Stream
from pointsman.rollout.reading.windows import MOST_CUTS, History, WentBackwardsError, stride_ms

CORRECT = Stream("correct", "v1")
VERSIONS = {"correct": "v1"}
STEPS = ((0, 1000.5), (1, 1004.25), (2, 1008.0))
STRIDE_MS = 1000
NEWEST_MS = 1_012_000


def cells(**by_step: tuple[int, int, int, int]) -> Cells:
    """Return counters: s0=(…) are those of step 0."""
    return {Cell(int(name[1:]), CORRECT): Counts(*four) for name, four in by_step.items()}


def follow(looks: dict[int, Cells | None], now: Cells) -> tuple[Window, ...]:
    """Return the windows after looks at all aligned times."""
    history = History(STRIDE_MS, STEPS)
    for at in history.due(NEWEST_MS):
        history.cut(at, looks.get(at))
    return history.windows(now, VERSIONS).get(StreamKey("correct"), ())


def test_a_window_is_what_was_counted_between_two_cuts() -> None:
    """The first begins with the step, the last is open."""
    looks: dict[int, Cells | None] = {
        1_001_000: cells(s0=(1, 0, 0, 0)),
        1_002_000: cells(s0=(4, 2, 1, 0)),
    }
    assert follow(looks, cells(s0=(4, 2, 1, 1))) == (
        Window(0, 1000.5, Tally(1, 1), Tally(0, 0)),
        Window(0, 1001.0, Tally(3, 5), Tally(1, 1)),
        Window(0, 1002.0, Tally(0, 0), Tally(0, 1)),
    )


def test_what_is_scored_late_belongs_to_the_step_that_served_it() -> None:
    """Counts of a step that come after its end are in its own last window, not in the next step's."""
    looks: dict[int, Cells | None] = {
        1_004_000: cells(s0=(5, 0, 5, 0)),
        1_006_000: cells(s0=(5, 0, 6, 0), s1=(1, 0, 1, 0)),
    }
    windows = follow(looks, cells(s0=(5, 0, 9, 0), s1=(1, 0, 1, 0)))
    assert [(w.step, w.start_s, w.candidate.total) for w in windows] == [
        (0, 1000.5, 5),
        (0, 1004.0, 4),
        (1, 1004.25, 1),
    ]


def test_a_cut_that_could_not_be_read_joins_two_windows() -> None:
    """Nothing is lost by it."""
    looks: dict[int, Cells | None] = {1_001_000: None, 1_002_000: cells(s0=(4, 0, 4, 0)), 1_003_000: None}
    windows = follow(looks, cells(s0=(6, 0, 6, 0)))
    assert [(w.start_s, w.candidate.total) for w in windows] == [(1000.5, 4), (1002.0, 2)]


def test_a_cut_that_contradicts_an_earlier_one_is_not_made() -> None:
    """A dip between two looks (an evaluator that moves) is no window."""
    looks: dict[int, Cells | None] = {
        1_001_000: cells(s0=(4, 0, 4, 0)),
        1_002_000: cells(s0=(2, 0, 4, 0)),
        1_003_000: cells(s0=(6, 0, 6, 0)),
    }
    windows = follow(looks, cells(s0=(6, 0, 6, 0)))
    assert [(w.start_s, w.incumbent.total) for w in windows] == [(1000.5, 4), (1001.0, 2)]


def test_counters_that_are_smaller_now_are_refused() -> None:
    """Nothing is concluded from them."""
    with pytest.raises(WentBackwardsError):
        follow({1_001_000: cells(s0=(4, 0, 4, 0))}, cells(s0=(3, 0, 4, 0)))
    with pytest.raises(WentBackwardsError):
        follow({1_001_000: cells(s0=(4, 0, 4, 0))}, {})


def test_a_changed_rubric_has_no_past() -> None:
    """Counts of another version are not its own."""
    old = {Cell(0, Stream("correct", "v0")): Counts(9, 9, 9, 9)}
    history = History(STRIDE_MS, STEPS)
    history.cut(1_001_000, old)
    new = {Cell(0, CORRECT): Counts(1, 0, 0, 0)}
    assert history.windows(old | new, VERSIONS) == {
        StreamKey("correct"): (Window(0, 1001.0, Tally(1, 1), Tally(0, 0)),)
    }


steps_of_growth = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2]),
        st.tuples(*[st.integers(0, 3)] * 4),
        st.booleans(),
    ),
    max_size=12,
)


@given(steps_of_growth)
def test_all_windows_together_are_the_counters(growth: list[tuple[int, tuple[int, ...], bool]]) -> None:
    """Whatever grows when, and whichever looks fail: sums are exact, order is by step and time."""
    now: Cells = {}
    looks: dict[int, Cells | None] = {}
    for at, (step, more, readable) in zip(range(1_001_000, NEWEST_MS, STRIDE_MS), growth, strict=False):
        cell = Cell(step, CORRECT)
        now = now | {cell: Counts(*(a + b for a, b in zip(now.get(cell, Counts()), more, strict=True)))}
        looks[at] = now if readable else None
    windows = follow(looks, now)
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for w in windows:
        for n, value in enumerate((*w.incumbent, *w.candidate)):
            sums[w.step][n] += value
    expected = {cell.step: [*c.incumbent, *c.candidate] for cell, c in now.items() if any(c)}
    assert dict(sums) == expected
    assert [*windows] == sorted(windows, key=lambda w: (w.step, w.start_s))


def test_the_number_of_cuts_is_bounded() -> None:
    """A long rollout of short windows joins them."""
    assert stride_ms(900_000, 0, 24 * 3_600_000) == 900_000
    week_ms = 7 * 24 * 3_600_000
    assert week_ms // stride_ms(1000, 0, week_ms) <= MOST_CUTS
    assert stride_ms(1000, 0, week_ms) % 1000 == 0
