"""The pace of targets: free as long as Envoys follow, and never so fast that nothing is ever acknowledged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.xds.pace import PATIENCE_S, STARVING_S, Pace


def test_the_first_target_and_those_soon_after_it_do_not_wait() -> None:
    """A rollback beside one other change is pushed at once."""
    pace = Pace()
    assert pace.held_until(0) is None
    pace.moved(0)
    assert pace.held_until(STARVING_S) is None


def test_a_target_waits_when_none_was_acknowledged_for_long() -> None:
    """It may follow on the acknowledgement, or when patience ends."""
    pace = Pace()
    pace.moved(0)
    pace.moved(1)
    assert pace.held_until(1.5) == 1 + PATIENCE_S
    assert pace.held_until(1 + PATIENCE_S) is None
    pace.reached()
    assert pace.held_until(1.5) is None


def test_a_quiet_gateway_with_a_mute_envoy_does_not_wait() -> None:
    """Patience counts from the last target, not from the last change."""
    pace = Pace()
    pace.moved(0)
    assert pace.held_until(60) is None


@given(every=st.floats(0.001, 0.2), takes=st.floats(0.01, PATIENCE_S - 0.3))
def test_targets_are_reached_however_fast_changes_come(every: float, takes: float) -> None:
    """Changes each few milliseconds, an Envoy that needs up to 1.7 s: a target in 4 s is reached."""
    pace, now, moved, reached = Pace(), 0.0, None, [0.0]
    while now < 20:
        if moved is not None and now - moved >= takes:
            pace.reached()
            reached.append(now)
            moved = None
        if pace.held_until(now) is None:
            pace.moved(now)
            moved = now
        now += every
    assert max(later - earlier for earlier, later in zip(reached, [*reached[1:], 20.0], strict=True)) < 4
    assert reached[-1] == pytest.approx(20, abs=4)
