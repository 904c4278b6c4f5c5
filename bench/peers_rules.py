"""How often identical arms are rolled back, and how soon bad ones, by each tool's rule on simulated counts.

Flagger 1.44.0: a check fails where the value is below thresholdRange.min
(pkg/controller/scheduler_metrics.go:331); the next tick rolls back where failed checks have reached the
threshold (scheduler.go:430). Argo Rollouts 1.10.1: a measurement fails where successCondition is false
(utils/evaluate/evaluate.go:18), a metric where failed measurements exceed failureLimit
(analysis/analysis.go:667).
Ours: pointsman.stats, as the operator calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers_counts import GOOD, GUARDED, RATE, SHARE
from bench.peers_objects import LIMIT
from decision_world import Crossings, World, fails, halves
from pointsman.rollout.question import GUARDS
from pointsman.stats.noise import noise_floor
from pointsman.stats.types import Rule

HOUR_S = 3600
STREAMS = 2000
WINDOWS = (10, 30, 60, 120, 300)
"""Seconds over which the peers' queries look back: short ones are quick, long ones seldom wrong."""
BAD = (0.79, 0.50)
LOWER = 0.89
"""Both arms where the traffic has become harder: a swing of five points is an ordinary day's."""
PATIENCE_S = 900
"""For so long broken candidates are followed."""
GOOD_S = 60
"""For so long ours serve well before they break."""
OUR_WINDOW_S = 60
NOISE_WINDOWS = 20
GROUPS = 8
"""Groups of our streams, each with a noise floor measured for itself."""


def compute(say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each tool and window.

    Shares of identical candidates that are rolled back within ten minutes and an hour (`hour_lower`: both
    arms at LOWER); seconds from breaking to the verdict: Flagger's next tick is in it; scrape, writes and
    data plane are not. `from_start`: the same for a candidate that was never good.
    """
    rng = np.random.default_rng(31)
    rows: list[dict[str, Any]] = []
    for window in WINDOWS:
        for tool, every, late in (("Flagger", 10, 10), ("Argo Rollouts", 1, 0)):
            first = every if tool == "Flagger" else window
            identical = _first_below(*_seconds(rng, HOUR_S), window, range(first, HOUR_S + 1, every))
            row = {"tool": tool, "interval_s": every, "window_s": window, **_shares(identical)}
            harder = _first_below(*_seconds(rng, HOUR_S, 0, LOWER), window, range(first, HOUR_S + 1, every))
            row["hour_lower"] = _shares(harder)["hour"]
            for bad in BAD:
                total, passed = _seconds(rng, window + PATIENCE_S, window, bad)
                phase = window + every // 2
                delays = _first_below(total, passed, window, range(phase, window + PATIENCE_S, every))
                row[f"to_{bad}"] = _delay(delays - window + late)
                never_good = _seconds(np.random.default_rng([33, window]), PATIENCE_S, 0, bad)
                found = _first_below(*never_good, window, range(first, PATIENCE_S + 1, every))
                row[f"from_start_{bad}"] = _delay(found + late)
            rows.append(row)
            say(f"{tool}, every {every} s over {window} s: {_words(row)}")
    for look in (1, 5):
        rows.append({"tool": "Pointsman", "interval_s": look, "window_s": OUR_WINDOW_S, **_ours(look)})
        say(f"Pointsman, every {look} s: {_words(rows[-1])}")
    return rows


def _words(row: dict[str, Any]) -> str:
    delays = ", ".join(f"94 % → {bad:.0%} p50 {row[f'to_{bad}']['p50_s']:.0f} s" for bad in BAD)
    shares = f"{row['ten_minutes']:.1%} within ten minutes, {row['hour']:.1%} within an hour, "
    shares += f"{row['hour_lower']:.1%} where both are at {LOWER:.0%}"
    return f"identical arms {shares}; {delays}"


def _seconds(
    rng: np.random.Generator, seconds: int, breaks: int = HOUR_S, bad: float = GOOD
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the candidate's scored answers and those that passed in each second, [streams, seconds]."""
    total = rng.poisson(RATE * SHARE, (STREAMS, seconds))
    return total, rng.binomial(total, np.where(np.arange(seconds) < breaks, GOOD, bad))


def _looking_back(counts: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Return at each second what `rate(...[window])` covers: samples a second apart span one second less."""
    sums = np.cumsum(np.pad(counts, ((0, 0), (window, 0))), axis=1)
    return sums[:, window:] - sums[:, 1 : 1 - window]


def _first_below(
    total: NDArray[np.int64], passed: NDArray[np.int64], window: int, at: range
) -> NDArray[np.float64]:
    """Return the second of each stream's first failed check; infinite where none fails."""
    moments = np.array(at) - 1
    served, good = _looking_back(total, window)[:, moments], _looking_back(passed, window)[:, moments]
    failed = (served > 0) & (good < LIMIT * served)
    first = np.array(at, dtype=np.float64)[failed.argmax(axis=1)]
    return np.where(failed.any(axis=1), first, np.inf)


def _shares(first: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "streams": len(first),
        "ten_minutes": float((first <= 600).mean()),
        "hour": float((first <= HOUR_S).mean()),
    }


def _delay(delays: NDArray[np.float64]) -> dict[str, float]:
    return {"p50_s": float(np.median(delays)), "p90_s": float(np.quantile(delays, 0.9))}


def _ours(look_s: int) -> dict[str, Any]:
    """Return the same of all of our streams together: the rubric, and guards that pass more often."""
    own, lower, guard = (_wrong(level) for level in (GOOD, LOWER, GUARDED))
    row: dict[str, Any] = {"streams": STREAMS, "hour_lower": _any(lower["hour"], guard["hour"])}
    row |= {name: _any(own[name], guard[name]) for name in ("ten_minutes", "hour")}
    for bad in BAD:
        for name, good_s in (("to", GOOD_S), ("from_start", 0)):
            broken = [_crossed(GOOD, group, GOOD - bad, look_s, good_s) for group in range(GROUPS)]
            answers = np.concatenate([crossed.samples for crossed in broken])
            row[f"{name}_{bad}"] = _delay(answers / (RATE * SHARE) - good_s)
    return row


@cache
def _wrong(level: float) -> dict[str, Any]:
    """Return how many of one rubric's streams are rolled back though the arms are identical; 5 s a look."""
    windows: NDArray[np.float64] = np.concatenate([_crossed(level, group).windows for group in range(GROUPS)])
    ends = np.asarray((windows + 1) * OUR_WINDOW_S, dtype=np.float64)
    return _shares(ends)


def _any(own: float, guard: float) -> float:
    """Return the chance that the rubric or one of the guards fails."""
    return float(1 - (1 - own) * (1 - guard) ** len(GUARDS))


def _crossed(level: float, group: int, drop: float = 0.0, look_s: int = 5, good_s: int = 0) -> Crossings:
    """Run one group's test: for an hour with identical arms, else until the candidate that broke is found."""
    rng = np.random.default_rng([32, group])
    length = PATIENCE_S if drop else HOUR_S
    world = World(
        weights=(SHARE,) * (length // OUR_WINDOW_S),
        per_window=round(RATE * OUR_WINDOW_S),
        looks=OUR_WINDOW_S // look_s,
        level=level,
        drop=drop,
        breaks_at=good_s // OUR_WINDOW_S,
    )
    return fails(
        world,
        STREAMS // GROUPS,
        rng,
        minimum_drop=Rule().minimum_drop,
        alpha=Rule().false_alarm / 2 / (1 + len(GUARDS)),
        tau=noise_floor(halves(world, NOISE_WINDOWS, rng)).tau_star,
        prior=level,
    )
