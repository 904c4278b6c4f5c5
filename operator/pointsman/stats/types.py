"""What the tests read and what they say. Shares run from 0 to 1, counts may be fractions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """W windows of one stream (a rubric, overall or in an intent), in time order; the last may be partial."""

    incumbent_passes: NDArray[np.float64]
    incumbent_total: NDArray[np.float64]
    candidate_passes: NDArray[np.float64]
    candidate_total: NDArray[np.float64]
    """Raw counts, [W] each; phi is divided out by the test."""
    starts: tuple[int, ...] = (0,)
    """Windows at which a process of the Fail test begins, oldest first: canary's begin, each step, each hour.
    The j-th weighs 1/(j (j + 1)): pass all of them, or the weights of dropped ones are spent twice."""
    prior: float | None = None
    """The incumbent's pass rate before the first window, from the noise phase."""

    def __post_init__(self) -> None:
        """Raise `ValueError` where the four arrays are not counts of the same windows."""
        shape = self.incumbent_total.shape
        arms = (
            ("incumbent", self.incumbent_passes, self.incumbent_total),
            ("candidate", self.candidate_passes, self.candidate_total),
        )
        for arm, passes, total in arms:
            if passes.shape != shape or total.shape != shape or passes.ndim != 1:
                raise ValueError(f"{arm}: passes and totals need one value a window, like all four arrays")
            if not (np.all(passes >= 0) and np.all(passes <= total)):
                raise ValueError(f"{arm}: passes lie between 0 and the total in every window")
        if any(start < 0 for start in self.starts):
            raise ValueError("starts: indices of windows, 0 or more")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Paired outcomes of one stream: who passed on the same request."""

    both: int = 0
    only_incumbent: int = 0
    only_candidate: int = 0
    neither: int = 0

    @property
    def total(self) -> int:
        """Return the number of pairs."""
        return self.both + self.only_incumbent + self.only_candidate + self.neither


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """A/A: the incumbent's own sessions in two halves, over k windows."""

    a_passes: NDArray[np.float64]
    a_total: NDArray[np.float64]
    b_passes: NDArray[np.float64]
    b_total: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """How much two halves of the same thing differ beyond chance."""

    windows: int
    """Windows that said something: the stream's own, or the pooled ones where those decided."""
    tau: float
    """Standard deviation of one window's shock, estimated (a share)."""
    tau_star: float
    """The one to reckon with: never below what the data allow at 95 %. Infinite where nothing was seen."""
    phi: float
    """Overdispersion by session, 1 or more."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one stream says."""

    n_incumbent: int
    n_candidate: int
    """Scored samples, not divided by phi."""
    drop: float
    """Incumbent minus candidate, windows weighted by their precision; 0 without data."""
    low: float
    """The largest drop that the Fail test rejects as too small; -1 where it rejects none."""
    high: float
    """The smallest drop that the Pass test rejects as too large; 1 where it rejects none."""
    log_e_fail: float
    """Natural logarithm of the evidence that the drop exceeds `Rule.minimum_drop`."""
    failed: bool
    """That evidence reached 1/alpha. Beats every Pass."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Settings of the verdict, as shares."""

    minimum_drop: float = 0.01
    """Fail beyond it."""
    tolerated_drop: float = 0.03
    """Pass below it."""
    false_alarm: float = 0.01
    """Chance that anything of an equally good candidate ever fails."""
    false_pass: float = 0.05
    """Chance that a stream at a margin passes it."""
