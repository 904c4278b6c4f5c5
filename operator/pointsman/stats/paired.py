"""Paired outcomes: both revisions on the same request, so that only disagreements say something."""

from __future__ import annotations

from math import log, log1p

import numpy as np
from numpy.typing import NDArray

from pointsman.stats import bounds
from pointsman.stats.types import Pairs, Reading, Rule

_BETS: NDArray[np.float64] = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.9])


def read_paired(pairs: Pairs, phi: float, rule: Rule, alpha_fail: float) -> Reading:
    """Read a stream of pairs: the mean over bets of prod(1 + lambda (d - delta0)), d = incumbent - candidate.

    Exact for counts in any order; `phi` discounts pairs that come from the same session.
    """
    n = pairs.total
    log_e_fail = log_fail(pairs, phi, rule.minimum_drop)
    threshold = -log(alpha_fail)
    low = bounds.lower(lambda drop: log_fail(pairs, phi, drop), rule.minimum_drop, threshold)
    high = bounds.upper(lambda drop: log_pass(pairs, phi, drop), rule.tolerated_drop, -log(rule.false_pass))
    return Reading(
        n_incumbent=n,
        n_candidate=n,
        drop=mean_drop(pairs),
        low=low,
        high=max(low, high),
        log_e_fail=log_e_fail,
        failed=log_e_fail >= threshold,
    )


def mean_drop(pairs: Pairs) -> float:
    """Return the mean of incumbent minus candidate; 0 without pairs."""
    return (pairs.only_incumbent - pairs.only_candidate) / pairs.total if pairs.total else 0.0


def log_fail(pairs: Pairs, phi: float, delta0: float) -> float:
    """Return ln E of the null drop <= delta0."""
    return _log_e(pairs.only_incumbent, pairs.both + pairs.neither, pairs.only_candidate, phi, delta0)


def log_pass(pairs: Pairs, phi: float, delta0: float) -> float:
    """Return ln E of the null drop >= delta0: the same with the arms exchanged."""
    return _log_e(pairs.only_candidate, pairs.both + pairs.neither, pairs.only_incumbent, phi, -delta0)


def _log_e(worse: int, same: int, better: int, phi: float, delta0: float) -> float:
    stakes = _BETS / (1 + delta0)
    logs = (
        worse * np.log1p(stakes * (1 - delta0))
        + same * np.log1p(-stakes * delta0)
        + better * np.array([log1p(-bet) for bet in _BETS])
    ) / max(phi, 1.0)
    return float(np.logaddexp.reduce(logs)) - log(len(_BETS))
