"""How much money an hour may see. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

HOUR_S: Final = 3600
_BIN_S: Final = 60


class HourlyBudget:
    """Nano-dollars of any hour: what was spent in the last 60 minutes and what is under way stay within it.

    A replay that costs more than was estimated may overshoot by the difference; the next ones wait it out.
    """

    def __init__(self, per_hour_nano: int, spent: Iterable[tuple[float, int]] = ()) -> None:
        """`spent`: (Unix time, nano-dollars) of what was spent before a restart."""
        self.per_hour_nano = per_hour_nano
        self._bins: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._reserved = 0
        for at, nano in sorted(spent):
            self.spend(at, nano)

    def used(self, now: float) -> int:
        """Return the nano-dollars of the last hour, those under way included."""
        while self._bins and (self._bins[0][0] + 1) * _BIN_S <= now - HOUR_S:
            self._sum -= self._bins.popleft()[1]
        return self._sum + self._reserved

    def fits(self, now: float, nano: int) -> bool:
        """Tell whether an answer of this price may be asked for."""
        return self.used(now) + nano <= self.per_hour_nano

    def reserve(self, nano: int) -> None:
        """Set aside what an answer is estimated to cost."""
        self._reserved += nano

    def release(self, nano: int) -> None:
        """Give back what was set aside."""
        self._reserved -= nano

    def spend(self, now: float, nano: int) -> None:
        """Count what an answer has cost."""
        slot = int(now // _BIN_S)
        if self._bins and self._bins[-1][0] >= slot:
            at, before = self._bins[-1]
            self._bins[-1] = (at, before + nano)
        else:
            self._bins.append((slot, nano))
        self._sum += nano
