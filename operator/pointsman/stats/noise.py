"""The noise floor: how far two halves of the incumbent's own traffic drift apart beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from pointsman.stats.types import Halves, Noise

_ENOUGH = 32
"""Windows from which on a stream speaks for itself."""
_QUANTILE = 0.05


def noise_floor(
    halves: Halves, phi: float = 1.0, multiplier: float = 1.5, pooled: Sequence[Halves] = ()
) -> Noise:
    """Estimate how far halves drift apart in a window beyond chance.

    With S = mean (rate a - rate b)² over k windows and b its binomial part · phi:
    tau² = max(S - b, 0), tau_up² = max(k S / chi²(.05, k) - b, 0), tau* = max(tau_up, multiplier · tau).
    With fewer than 32 windows `pooled`, all streams of the rubric by intent (this one too, if it is one),
    speaks instead, in units of b. A stream without a window of its own decides nothing: infinite tau*.
    """
    phi = max(phi, 1.0)
    own = _spread(halves, phi)
    if own is None:
        return Noise(windows=0, tau=0.0, tau_star=inf, phi=phi)
    ratios, unit = own.squares / own.unit, own.unit
    if len(own.squares) < _ENOUGH and pooled:
        others = [spread for spread in (_spread(part, phi) for part in pooled) if spread is not None]
        together = np.concatenate([part.squares / part.units for part in others] or [ratios])
        ratios = together if len(together) > len(ratios) else ratios
    k, mean = len(ratios), float(ratios.mean())
    tau = sqrt(max(mean - 1, 0.0) * unit)
    upper = sqrt(max(k * mean / float(chdtri(k, 1 - _QUANTILE)) - 1, 0.0) * unit)
    return Noise(windows=k, tau=tau, tau_star=max(upper, multiplier * tau), phi=phi)


def overdispersion(xx: float, xn: float, nn: float, passes: float, total: float) -> float:
    """Return phi = max(1, variance of sessions / binomial variance), from the sums over sessions x², xn, n².

    x passes of n scored requests of a session; `passes` of `total` are the sums of x and n. The ratio
    estimator of a cluster sample (Cochran); 1 where nothing varies.
    """
    if total <= 0:
        return 1.0
    p = passes / total
    binomial = total * p * (1 - p)
    return max(1.0, (xx - 2 * p * xn + p * p * nn) / binomial) if binomial > 0 else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    squares: NDArray[np.float64]
    """(rate a - rate b)² of each window."""
    units: NDArray[np.float64]
    """What chance alone would give each."""
    unit: float
    """Mean of `units`: b."""


def _spread(halves: Halves, phi: float) -> _Spread | None:
    """Return what each window with both halves says; None without one.

    The level may drift from window to window: the binomial variance is the pooled one *within* windows.
    """
    keep = (halves.a_total > 0) & (halves.b_total > 0)
    if not keep.any():
        return None
    n_a, n_b = halves.a_total[keep], halves.b_total[keep]
    passes, total = (halves.a_passes + halves.b_passes)[keep], n_a + n_b
    variance = float((passes * (1 - passes / total)).sum() / (total - 1).sum())
    squares = np.square(halves.a_passes[keep] / n_a - halves.b_passes[keep] / n_b)
    # Where all passed, nothing can differ: any positive unit says "no more than chance".
    units = max(variance, 1e-12) * (1 / n_a + 1 / n_b) * phi
    return _Spread(squares=squares, units=units, unit=float(units.mean()))
