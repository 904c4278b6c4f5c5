"""The gate's interval: paired, clustered, honest about few cases."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from pointsman.stats.gate import GateReading, read_gate
from pointsman.stats.types import Rule

RULE = Rule()


def read(differences: list[float], clusters: list[int] | None = None, rule: Rule = RULE) -> GateReading:
    """Read cases with these differences, each a cluster of its own unless said otherwise."""
    d = np.array(differences)
    names = np.arange(len(d)) if clusters is None else np.array(clusters)
    D, n = np.bincount(names, d), np.bincount(names).astype(float)  # noqa: N806 - as the contract names it
    return read_gate(
        len(d), len(D), float(d.sum()), float(d @ d), float(D @ D), float(D @ n), float(n @ n), rule
    )


def mixed(n: int, worse: int, better: int) -> list[float]:
    """Return n cases of which some differ."""
    return [1.0] * worse + [-1.0] * better + [0.0] * (n - worse - better)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        (mixed(500, 5, 5), "pass"),
        (mixed(500, 80, 10), "fail"),
        (mixed(500, 30, 15), "underpowered"),
        (mixed(50, 3, 3), "underpowered"),
        (mixed(50, 0, 0), "underpowered"),
        (mixed(500, 0, 0), "pass"),
        (mixed(50, 25, 1), "fail"),
    ],
)
def test_verdicts(differences: list[float], verdict: str) -> None:
    """Worse fails, alike passes, few cases say that they are few: even without a single disagreement."""
    assert read(differences).verdict == verdict


def test_clusters_widen() -> None:
    """Ten questions on each of 50 texts, that go wrong together, say less than 500 texts."""
    together = [1.0] * 20 + [-1.0] * 20 + [0.0] * 460
    apart, clustered = read(together), read(together, [case // 10 for case in range(500)])
    assert clustered.se == pytest.approx(apart.se * sqrt(10), rel=0.1)
    assert clustered.drop == apart.drop == 0.0


def test_cancelling_clusters_do_not_narrow() -> None:
    """Clusters whose cases happen to cancel claim no precision."""
    cancelling = [1.0, -1.0] * 50
    assert read(cancelling, [case // 2 for case in range(100)]).se >= read(cancelling).se * 0.98


def test_needed_n_would_do() -> None:
    """With as many cases of the same kind as it names, the verdict falls."""
    few = read(mixed(100, 3, 3))
    share = few.needed_n / 100
    more = read(mixed(few.needed_n, round(3 * share), round(3 * share)))
    assert (few.verdict, more.verdict) == ("underpowered", "pass")
    assert few.needed_n < 2000


def test_fifty_cases_see_little() -> None:
    """50 cases find drops of some twelve points or more, 500 far smaller ones."""
    few, many = read(mixed(50, 2, 2)), read(mixed(500, 20, 20))
    assert few.minimum_detectable == pytest.approx(0.135, abs=0.03)
    assert many.minimum_detectable < 0.05


def test_no_cases() -> None:
    """Nothing scored: nothing known."""
    reading = read_gate(0, 0, 0, 0, 0, 0, 0, RULE)
    assert (reading.verdict, reading.low, reading.high, reading.minimum_detectable) == (
        "underpowered",
        -1,
        1,
        1,
    )
    assert reading.needed_n > 50


def test_covers() -> None:
    """About 95 of 100 gates of 60 clusters hold the true drop of 5 points."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        trouble = rng.random(60) < 0.2
        d = np.where(np.repeat(trouble, 4), rng.random(240) < 0.25, 0.0).astype(float)
        reading = read(d.tolist(), [case // 4 for case in range(240)])
        held += reading.low <= 0.05 <= reading.high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_graded_scores() -> None:
    """Differences between 0 and 1 are read like pass and fail."""
    assert read([0.25, -0.25] * 250).verdict == "pass"
