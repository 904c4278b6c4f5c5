"""Evidence of single windows: bets on the difference of two arms, fair whatever the level and allocation.

The wager of a window on "drop > delta0" against "drop = delta0 + g" is sized by the variances under the null
and by tau, the shock that may hit one arm alone; a sub-Gaussian shock costs exp(kappa² tau² / 2): it is paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf

import numpy as np
from numpy.typing import NDArray

from pointsman.stats.types import Blocks

_EDGE = 1e-3
"""Rates that are bet on stay this far from 0 and 1."""
_INSIDE = 1e-4
_MOST = 0.999
"""Share of the stake that a single outcome may cost."""
_PRIOR_WEIGHT = 20.0
"""Requests that a known prior counts for; an unknown one is two at one half (Laplace)."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Windows in which both arms have samples, phi divided out; arrays are [W]."""

    passes_i: Array
    fails_i: Array
    total_i: Array
    passes_c: Array
    fails_c: Array
    total_c: Array
    before: Array
    """The incumbent's rate before each window: nothing of the window itself."""
    index: NDArray[np.intp]
    """Where each was among all windows."""


def prepare(blocks: Blocks, phi: float) -> Prepared:
    """Divide counts by `phi` and leave out windows that bear no comparison (their evidence is 0)."""
    phi = max(phi, 1.0)
    passes, total = blocks.incumbent_passes / phi, blocks.incumbent_total / phi
    weight, prior = (2.0, 0.5) if blocks.prior is None else (_PRIOR_WEIGHT, blocks.prior)
    before = (weight * prior + np.cumsum(passes) - passes) / (weight + np.cumsum(total) - total)
    index = np.flatnonzero((blocks.incumbent_total > 0) & (blocks.candidate_total > 0))
    passes_c, total_c = blocks.candidate_passes[index] / phi, blocks.candidate_total[index] / phi
    passes, total = passes[index], total[index]
    return Prepared(
        passes_i=passes,
        fails_i=total - passes,
        total_i=total,
        passes_c=passes_c,
        fails_c=total_c - passes_c,
        total_c=total_c,
        before=np.clip(before[index], _EDGE, 1 - _EDGE),
        index=index,
    )


def log_evidence(windows: Prepared, delta0: float, gaps: Array, tau: float) -> Array:
    """Return ln e of every window, [len(gaps), W], of the null drop <= delta0 (gaps > 0) or >= (gaps < 0).

    The gaps are all of one sign: alternatives are delta0 + gap.
    """
    if isinf(tau):
        return np.zeros((len(gaps), len(windows.index)))
    n_i, n_c, p, g = windows.total_i, windows.total_c, windows.before, gaps[:, np.newaxis]
    a = np.minimum(np.maximum(p - delta0 - g, _EDGE), 1 - _EDGE)
    bottom, top = max(delta0, 0.0) + _INSIDE, min(1.0, 1.0 + delta0) - _INSIDE
    reach_i, reach_c = n_i * p, n_c * (a + delta0)

    def null_rate(var_i: Array, var_c: Array) -> Array:
        """Where the incumbent's rate lies if the null holds: both arms' word, weighted by their precision."""
        rate: Array = (reach_i * var_c + reach_c * var_i) / (n_i * var_c + n_c * var_i)
        return np.minimum(np.maximum(rate, bottom), top)

    q = null_rate(p * (1 - p), a * (1 - a))
    for _ in range(2):
        q = null_rate(q * (1 - q), (q - delta0) * (1 - q + delta0))
    r = q - delta0
    kappa = g / (q * (1 - q) / n_i + r * (1 - r) / n_c + tau**2)
    if gaps[0] > 0:
        kappa = np.minimum(kappa, _MOST * np.minimum(n_i / q, n_c / (1 - r)))
    else:
        kappa = -np.minimum(-kappa, _MOST * np.minimum(n_i / (1 - q), n_c / r))
    k_i, k_c = kappa / n_i, kappa / n_c
    evidence: Array = (
        windows.passes_i * np.log1p(k_i * (1 - q))
        + windows.fails_i * np.log1p(-k_i * q)
        + windows.passes_c * np.log1p(-k_c * (1 - r))
        + windows.fails_c * np.log1p(k_c * r)
        - (kappa * tau) ** 2 / 2
    )
    return evidence
