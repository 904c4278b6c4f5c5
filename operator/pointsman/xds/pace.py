"""How fast targets may follow one another, so that Envoys have one of them wholly now and then. Pure.

Only what every Envoy has of the *latest* target is booked as served. Were each change a new target at once,
nobody's would be while changes come faster than acknowledgements: a thousand policies promoted in a minute.
"""

from __future__ import annotations

from typing import Final

STARVING_S: Final = 1.0
"""Targets follow one another freely for so long after one was acknowledged: a rollback alone never waits."""
PATIENCE_S: Final = 2.0
"""An Envoy that says nothing holds up the next target no longer than this."""


class Pace:
    """One gateway's. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._behind_since: float | None = None
        self._moved_at = 0.0

    def moved(self, now: float) -> None:
        """Note that Envoys are sent to a new target."""
        self._moved_at = now
        if self._behind_since is None:
            self._behind_since = now

    def reached(self) -> None:
        """Note that all have the latest target, or that one refused it."""
        self._behind_since = None

    def held_until(self, now: float) -> float | None:
        """Return when a new target may follow if the latest is not acknowledged before; None: now."""
        until = self._moved_at + PATIENCE_S
        starving = self._behind_since is not None and now - self._behind_since > STARVING_S
        return until if starving and now < until else None
