"""Losses: never claimed for what is on its way, always found in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pointsman.evaluator.ledger import Ledger, NodeState

SECOND = 1_000_000
GRACE = 3 * SECOND
HORIZON = SECOND // 4


def look(ledger: Ledger, finished: int, at: int) -> None:
    ledger.looked("e", finished, at, at + HORIZON)


def lost(ledger: Ledger) -> int:
    return ledger.states[0].lost


def test_what_is_under_way_is_not_lost() -> None:
    """Ten are finished, six stored; the other four arrive within the grace."""
    ledger = Ledger()
    ledger.stored("e", [0] * 6, 0)
    look(ledger, 10, SECOND)
    assert ledger.settle(2 * SECOND, GRACE) == 0
    ledger.stored("e", [SECOND] * 4, 2 * SECOND)
    assert ledger.settle(9 * SECOND, GRACE) == 0


def test_what_never_arrives_is_lost() -> None:
    """Four of ten are missing after the grace, and are counted once."""
    ledger = Ledger()
    ledger.stored("e", [0] * 6, 0)
    look(ledger, 10, SECOND)
    assert ledger.settle(4 * SECOND, GRACE) == 4
    look(ledger, 10, 5 * SECOND)
    assert ledger.settle(9 * SECOND, GRACE) == 0
    assert lost(ledger) == 4


def test_later_requests_do_not_hide_a_loss() -> None:
    """Hundreds that ended after the look arrive within the grace: the four are still missing."""
    ledger = Ledger()
    ledger.stored("e", [0] * 6, 0)
    look(ledger, 10, SECOND)
    ledger.stored("e", [2 * SECOND] * 300, 2 * SECOND)
    assert ledger.settle(4 * SECOND, GRACE) == 4


def test_a_restarted_evaluator_goes_on_counting() -> None:
    """What was finished while it was away is lost; what was known to be lost is not lost again."""
    ledger = Ledger([NodeState("e", received=90, finished=100, lost=10)])
    look(ledger, 150, SECOND)
    assert ledger.settle(4 * SECOND, GRACE) == 50
    assert lost(ledger) == 60


def test_a_restarted_envoy_is_another_node() -> None:
    """Its count starts at zero and has nothing to do with the old one's."""
    ledger = Ledger([NodeState("old", received=90, finished=100, lost=10)])
    ledger.looked("new", 5, SECOND, SECOND)
    ledger.stored("new", [0] * 5, SECOND)
    assert ledger.settle(4 * SECOND, GRACE) == 0


def test_a_counter_that_was_reset_starts_anew() -> None:
    """Somebody reset Envoy's statistics: nothing is lost by that, and later losses are found."""
    ledger = Ledger([NodeState("e", received=100, finished=100)])
    ledger.stored("e", [SECOND] * 5, SECOND)
    look(ledger, 5, SECOND)
    assert ledger.settle(4 * SECOND, GRACE) == 0
    look(ledger, 8, 5 * SECOND)
    assert ledger.settle(9 * SECOND, GRACE) == 3


def test_only_what_was_looked_at_is_stored_again() -> None:
    """A node is written once after a look, and dropped when nothing was heard of it for long."""
    ledger = Ledger([NodeState("old", received=1, seen_us=1)])
    look(ledger, 3, SECOND)
    assert [(state.node, state.finished) for state in ledger.take_changed()] == [("e", 3)]
    assert ledger.take_changed() == ()
    ledger.expire(SECOND)
    assert [state.node for state in ledger.states] == ["e"]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 900_000)), max_size=60),
    st.integers(0, SECOND),
)
def test_steady_traffic_never_claims_too_much_and_ends_exact(
    arrivals: list[tuple[bool, int]], phase: int
) -> None:
    """A request each 0.2 s, stored within 0.9 s or never: the loss never exceeds the truth, and meets it."""
    ledger = Ledger()
    events: list[tuple[int, str, int]] = []
    for number, (kept, delay) in enumerate(arrivals):
        end = number * SECOND // 5
        if kept:
            events.append((end + delay, "stored", end))
    finish = len(arrivals) * SECOND // 5 + 20 * SECOND
    events += [(at, "look", 0) for at in range(phase, finish, 2 * SECOND)]
    missing = sum(not kept for kept, _ in arrivals)
    for at, what, end in sorted(events):
        if what == "stored":
            ledger.stored("e", [end], at)
        else:
            look(ledger, sum(number * SECOND // 5 <= at for number in range(len(arrivals))), at)
            ledger.settle(at, GRACE)
        assert lost(ledger) <= missing
    assert lost(ledger) == missing


def test_what_others_stored_is_not_lost() -> None:
    """Of ten, we stored six and another replica three: by what the store has, one is lost."""
    ledger = Ledger()
    ledger.stored("e", [0] * 6, 0)
    look(ledger, 10, SECOND)
    (mark,) = ledger.due(4 * SECOND, GRACE)
    assert mark == ("e", SECOND + HORIZON)
    assert ledger.settle(4 * SECOND, GRACE, {mark: 9}) == 1


def test_who_begins_to_look_goes_on_from_what_is_stored() -> None:
    """Losses that another replica has found are not found again."""
    ledger = Ledger()
    ledger.load([NodeState("e", received=6, finished=10, lost=4)])
    look(ledger, 10, SECOND)
    assert ledger.settle(4 * SECOND, GRACE, {("e", SECOND + HORIZON): 6}) == 0
