"""How long a dead part waits."""

from __future__ import annotations

from pointsman.lab.supervisor import Backoff


def test_the_first_restart_is_immediate_and_the_next_ones_double_up_to_thirty_seconds() -> None:
    """0, 1, 2, 4, 8, 16, 30, 30."""
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_healthy_minute_is_forgiven() -> None:
    """After 60 s of health the next death is a first one."""
    backoff = Backoff()
    for _ in range(5):
        backoff.after(1.0)
    assert backoff.after(60.0) == 0
    assert backoff.after(59.9) == 1
