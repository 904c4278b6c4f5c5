"""Two arms served side by side: proven worse, proven good enough, or not yet."""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from pointsman.stats import bounds, paired
from pointsman.stats.block import Prepared, log_evidence, prepare
from pointsman.stats.types import Blocks, Noise, Pairs, Reading, Rule

FAIL_GAPS: NDArray[np.float64] = np.array([0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
"""The drops beyond `minimum_drop` that the Fail test bets on."""
_PASS_FACTORS: NDArray[np.float64] = np.array([0.5, 0.85, 1.2])
_LEAST_PASS_GAP = 0.01
"""Where the margin is near 0, bets reach at least this far below it."""


def read_canary(
    blocks: Blocks, noise: Noise, rule: Rule, alpha_fail: float, shadow: Pairs | None = None
) -> Reading:
    """Read one stream of the canary.

    Fail: sum over starts j of 1/(j (j + 1)) · mean over gaps of prod(e of windows since j) >= 1/alpha_fail.
    Pass at a margin: the mean over three gaps of prod(e of all windows), times the shadow's evidence, >=
    1/false_pass. `noise.phi` is divided out of the counts here.
    """
    windows = prepare(blocks, noise.phi)
    starts = np.searchsorted(windows.index, np.array(blocks.starts, dtype=np.intp))

    def fail(drop: float) -> float:
        return _log_fail(windows, starts, drop, noise.tau_star)

    def good(drop: float) -> float:
        known = paired.log_pass(shadow, noise.phi, drop) if shadow is not None else 0.0
        return known + _log_pass(windows, drop, noise.tau_star)

    threshold = -log(alpha_fail)
    log_e_fail = fail(rule.minimum_drop)
    low = bounds.lower(fail, rule.minimum_drop, threshold)
    high = bounds.upper(good, rule.tolerated_drop, -log(rule.false_pass))
    return Reading(
        n_incumbent=round(float(blocks.incumbent_total.sum())),
        n_candidate=round(float(blocks.candidate_total.sum())),
        drop=_drop(windows, noise.tau_star, shadow),
        low=low,
        high=max(low, high),
        log_e_fail=log_e_fail,
        failed=log_e_fail >= threshold,
    )


def pass_gaps(margin: float) -> NDArray[np.float64]:
    """Return the bets of the Pass test at a margin: .5, .85 and 1.2 of it below it."""
    return -_PASS_FACTORS * max(abs(margin), _LEAST_PASS_GAP)


def _log_fail(windows: Prepared, starts: NDArray[np.intp], delta0: float, tau: float) -> float:
    logs = log_evidence(windows, delta0, FAIL_GAPS, tau)
    since = np.zeros((len(FAIL_GAPS), logs.shape[1] + 1))
    since[:, :-1] = np.cumsum(logs[:, ::-1], axis=1)[:, ::-1]
    place = np.arange(1, len(starts) + 1)
    weights = -np.log(place * (place + 1.0)) - log(len(FAIL_GAPS))
    return float(np.logaddexp.reduce(since[:, starts] + weights, axis=None))


def _log_pass(windows: Prepared, delta0: float, tau: float) -> float:
    gaps = pass_gaps(delta0)
    logs = log_evidence(windows, delta0, gaps, tau).sum(axis=1)
    return float(np.logaddexp.reduce(logs)) - log(len(gaps))


def _drop(windows: Prepared, tau: float, shadow: Pairs | None) -> float:
    """Mean difference over windows with both arms, by precision; without such a window the shadow's."""
    if not len(windows.index):
        return paired.mean_drop(shadow) if shadow is not None else 0.0
    n_i, n_c = windows.total_i, windows.total_c
    pooled = float((windows.passes_i + windows.passes_c).sum() / (n_i + n_c).sum())
    variance = max(pooled * (1 - pooled), 1e-3) * (1 / n_i + 1 / n_c)
    weights = 1 / (variance + (tau**2 if np.isfinite(tau) else 0.0))
    differences = windows.passes_i / n_i - windows.passes_c / n_c
    return float((weights * differences).sum() / weights.sum())
