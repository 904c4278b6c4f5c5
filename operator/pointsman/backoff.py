"""How long to wait before what failed is tried again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait after the n-th error in a row: `base` doubled each time up to `cap`, less jitter."""

    base_s: float = 0.5
    cap_s: float = 60.0
    jitter: float = 0.5
    """Share of the delay that is random: the delay lies in [(1 - jitter) * d, d]."""

    def delay(self, errors: int, rng: random.Random) -> float:
        """Return the delay after `errors` (≥ 1) errors in a row."""
        full = min(self.cap_s, self.base_s * 2.0 ** min(errors - 1, 30))
        return full * (1.0 - self.jitter * rng.random())
