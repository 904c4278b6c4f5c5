"""From tests to an interval: the outermost drops that they reject."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

PRECISION = 1e-4
"""Bounds are within this of the exact ones, on the careful side."""
_REACH = 0.98
"""Drops beyond it are not asked about: both arms' rates would leave [0, 1]."""


def lower(log_e: Callable[[float], float], at: float, threshold: float) -> float:
    """Return the largest drop around `at` that is rejected as too small; -1 if none is.

    `log_e` falls as the drop grows. At or above `at` exactly when `log_e(at)` reaches the threshold.
    """
    return -upper(lambda drop: log_e(-drop), -at, threshold)


def upper(log_e: Callable[[float], float], at: float, threshold: float) -> float:
    """Return the smallest drop around `at` that is rejected as too large; 1 if none is.

    `log_e` grows with the drop. At or below `at` exactly when `log_e(at)` reaches the threshold.
    """
    excess = log_e(at) - threshold
    rejected = excess >= 0
    inner, outer, stride = (at, excess), (at, excess), PRECISION * 64
    # Walk away from `at` with growing strides until the answer changes.
    while (outer[1] >= 0) == rejected:
        if abs(outer[0]) >= _REACH:
            return outer[0] if rejected else 1.0
        inner = outer
        drop = outer[0] + (-stride if rejected else stride)
        drop = max(-_REACH, min(_REACH, drop))
        outer, stride = (drop, log_e(drop) - threshold), stride * 2
    kept, lost = (inner, outer) if rejected else (outer, inner)
    return _narrow(log_e, threshold, kept, lost)


def _narrow(
    log_e: Callable[[float], float], threshold: float, kept: tuple[float, float], lost: tuple[float, float]
) -> float:
    """Close in between a rejected drop and one that is not (Illinois: false position that cannot stall)."""
    (high, above), (low, below) = kept, lost
    while high - low > PRECISION:
        cut = low + (high - low) * (-below / (above - below)) if isfinite(above - below) else low
        margin = PRECISION / 2
        cut = min(max(cut, low + margin), high - margin)
        excess = log_e(cut) - threshold
        if excess >= 0:
            high, above, below = cut, excess, below / 2
        else:
            low, below, above = cut, excess, above / 2
    return high
