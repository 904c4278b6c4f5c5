"""How long a rollout takes, and how many samples are missing: typical times, not promises.

A window's ln e is a sum of independent outcomes, so its mean and variance are known; where several streams
must all pass, the slowest decides: each is taken at the quantile at which half of the time all are through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from pointsman.stats.block import Prepared, log_evidence
from pointsman.stats.budget import step_margin
from pointsman.stats.canary import pass_gaps
from pointsman.stats.types import Reading, Rule

_MOST_WINDOWS = 1e6


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a canary and what feeds them."""

    weights: tuple[float, ...]
    """The candidate's share in each step."""
    minimum_hours: tuple[float, ...]
    """How long each step lasts at least."""
    rate: float
    """Scored requests per second, both arms together."""
    window_hours: float = 0.25
    shares: tuple[float, ...] = (1.0,)
    """The part of the traffic of each stream that must pass: 1 for a rubric overall, less for an intent."""
    p: float = 0.9
    """The incumbent's pass rate."""
    tau_star: float = 0.0
    """Noise of one window; infinite means never."""
    phi: float = 1.0


def hours_to_promotion(plan: Plan, rule: Rule) -> float:
    """Return the hours from the canary's begin to promotion of an equally good candidate; `inf` if never."""
    return sum(step_hours(plan, rule))


def step_hours(plan: Plan, rule: Rule) -> tuple[float, ...]:
    """Return the hours that each step takes: its minimum, or until every stream passes the next margin.

    Ends with `inf` at a step that never ends.
    """
    spent: list[float] = []
    for minimum in plan.minimum_hours:
        spent.append(
            max(minimum, *(_wait(plan, rule, share, spent) for share in sorted({*plan.shares, 1.0})))
        )
        if spent[-1] == inf:
            break
    return tuple(spent)


def first_weight(plan: Plan, rule: Rule, within_hours: float = 24.0) -> float | None:
    """Return the smallest first weight, in whole permille, with which promotion fits; None if none does.

    Later weights below it are raised to it.
    """
    fits: float | None = None
    low, high = max(1, round(plan.weights[0] * 1000)), 500
    while low <= high:  # hours fall as the weight grows
        middle = (low + high) // 2
        raised = tuple(max(middle / 1000, weight) for weight in plan.weights)
        if hours_to_promotion(replace(plan, weights=raised), rule) <= within_hours:
            fits, high = middle / 1000, middle - 1
        else:
            low = middle + 1
    return fits


def samples_needed(
    reading: Reading,
    rule: Rule,
    margin: float,
    *,
    p: float,
    per_candidate: float,
    tau_star: float = 0.0,
    phi: float = 1.0,
    per_window: float = 50.0,
) -> int:
    """Return how many more candidate samples until `margin` is likely passed; 0 if it is, or if it failed.

    Assumed is the observed drop, but at most half the margin (nearer to it the wait has no end). p is the
    incumbent's pass rate, `per_candidate` its samples for one of the candidate, `per_window` the candidate's
    samples in a window. -1: with this noise never.
    """
    if reading.failed or reading.high < margin:
        return 0
    drop = min(max(reading.drop, 0.0), margin / 2)
    arms = _Arms(per_window * per_candidate, per_window, p, max(p - drop, 0.0))
    windows = _until(_Growth.none(), _growth(arms, margin, tau_star, phi), -log(rule.false_pass), 0.0)
    return max(1, ceil(windows * per_window) - reading.n_candidate) if windows < inf else -1


@dataclass(frozen=True, slots=True)
class _Arms:
    n_i: float
    n_c: float
    p_i: float
    p_c: float


@dataclass(frozen=True, slots=True, eq=False)
class _Growth:
    """Mean and variance of ln E, by bet."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def none(cls) -> _Growth:
        return cls(np.zeros(len(pass_gaps(1.0))), np.zeros(len(pass_gaps(1.0))))

    def after(self, windows: float, growth: _Growth) -> _Growth:
        return _Growth(self.mean + windows * growth.mean, self.variance + windows * growth.variance)


def _wait(plan: Plan, rule: Rule, share: float, spent: list[float]) -> float:
    """Return the hours that a stream with this share needs in the step that comes after those `spent`."""
    step = len(spent)
    following = plan.weights[step + 1] if step + 1 < len(plan.weights) else 1.0
    margin = step_margin(rule, following, share)
    samples = plan.rate * plan.window_hours * 3600 * share

    def growth(weight: float) -> _Growth:
        arms = _Arms(samples * (1 - weight), samples * weight, plan.p, plan.p)
        return _growth(arms, margin, plan.tau_star, plan.phi)

    had = _Growth.none()
    for weight, hours in zip(plan.weights, spent, strict=False):
        had = had.after(hours / plan.window_hours, growth(weight))
    caution = float(ndtri(0.5 ** (1 / len(plan.shares))))
    return plan.window_hours * _until(had, growth(plan.weights[step]), -log(rule.false_pass), caution)


def _growth(arms: _Arms, margin: float, tau: float, phi: float) -> _Growth:
    """Return mean and variance of a window's ln e: it is linear in the passes of either arm."""
    phi = max(phi, 1.0)
    n_i, n_c = arms.n_i / phi, arms.n_c / phi
    # Three windows of the same size: as expected, and with one more pass in one arm.
    passes_i = n_i * arms.p_i + np.array([0.0, 1.0, 0.0])
    passes_c = n_c * arms.p_c + np.array([0.0, 0.0, 1.0])
    windows = Prepared(
        passes_i=passes_i,
        fails_i=n_i - passes_i,
        total_i=np.full(3, n_i),
        passes_c=passes_c,
        fails_c=n_c - passes_c,
        total_c=np.full(3, n_c),
        before=np.full(3, min(max(arms.p_i, 0.001), 0.999)),
        index=np.arange(3),
    )
    logs = log_evidence(windows, margin, pass_gaps(margin), tau)
    by_i, by_c = logs[:, 1] - logs[:, 0], logs[:, 2] - logs[:, 0]
    variance = n_i * arms.p_i * (1 - arms.p_i) * by_i**2 + n_c * arms.p_c * (1 - arms.p_c) * by_c**2
    return _Growth(logs[:, 0], variance)


def _until(had: _Growth, growth: _Growth, threshold: float, caution: float) -> float:
    """Return after how many windows the mean over bets reaches the threshold, `caution` deviations low."""

    def short(windows: float) -> bool:
        grown = had.after(windows, growth)
        logs = grown.mean - caution * np.sqrt(grown.variance)
        return float(np.logaddexp.reduce(logs)) - log(len(logs)) < threshold

    if not short(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while short(high):
        low, high = high, high * 2
        if high > _MOST_WINDOWS:
            return inf
    while high - low > high / 1000:
        middle = (low + high) / 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high
