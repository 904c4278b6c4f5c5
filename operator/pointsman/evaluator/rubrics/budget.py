"""How many calls an hour may hold. Pure."""

from __future__ import annotations

HOUR_S = 3600.0


class Budget:
    """A token bucket: never more than `per_hour` calls in any hour, spread over it, whoever restarts when.

    It holds a sixtieth of the budget at most and begins empty: what a restart forgets is never given twice.
    Calls spread evenly score both arms alike; a budget spent at once would leave later windows blind.
    """

    def __init__(self, per_hour: int, now: float) -> None:
        """`now` and all later times: seconds of one monotonic clock."""
        self._holds = float(max(1, per_hour // 60))
        # floor(holds + rate) over an hour that begins with a full bucket is per_hour, not one more
        self._rate = (per_hour - self._holds + 1) / HOUR_S
        self._tokens = 0.0
        self._at = now

    def take(self, now: float) -> bool:
        """Take one call, if there is one."""
        self._tokens = min(self._holds, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Allowance(Budget):
    """So many calls, at once if need be: for a command that runs once."""

    def __init__(self, calls: int) -> None:
        super().__init__(calls, 0.0)
        self._left = calls

    def take(self, now: float) -> bool:  # noqa: ARG002 - it does not depend on it
        """Take one call, if there is one."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True
