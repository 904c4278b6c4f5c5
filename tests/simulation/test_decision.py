"""The decision rule on simulated arms, small scale: what it must never do, and how soon it must speak.

`bench decision` does the same with thousands of streams.
"""

from __future__ import annotations

from dataclasses import replace
from math import isinf, sqrt

import numpy as np
import pytest

from decision_world import World, blocks, fails, halves, passes, ramp
from pointsman.stats.canary import read_canary
from pointsman.stats.noise import noise_floor
from pointsman.stats.types import Blocks, Noise, Rule

RAMP = ramp((0.01, 28), (0.05, 28), (0.25, 28), (0.5, 27))
STARTS = tuple(sorted({0, 28, 56, 84, *range(4, 111, 4)}))
CYCLE = World(weights=RAMP, per_window=2400, looks=4, level=0.9, cycle=0.05)
SHOCK = 0.02
LOUD = World(weights=(1 / 11,) * 111, per_window=4950, looks=2, level=0.9, cycle=0.05, shock=SHOCK)


def generator(seed: int) -> np.random.Generator:
    """Return the chance of a test: the same every time."""
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shock", [0.0, SHOCK])
def test_identical_arms_do_not_fail(shock: float) -> None:
    """Ramp, daily cycle, shocks: identical arms fail no more often than the budget of 1 % allows."""
    world = replace(CYCLE, shock=shock)
    tau = noise_floor(halves(world, 96, generator(1))).tau_star
    rule = {"minimum_drop": 0.01, "alpha": 0.01, "prior": 0.9}
    assert fails(world, 200, generator(2), tau=tau, starts=STARTS, **rule).share <= 0.01


@pytest.mark.parametrize("shock", [0.0, SHOCK])
def test_errors_on_the_boundary(shock: float) -> None:
    """With a true drop right at a margin, either test errs at most at its nominal 5 %, at any look."""
    tau = shock * sqrt(2)
    worse, harmful = replace(LOUD, shock=shock, drop=0.01), replace(LOUD, shock=shock, drop=0.03)
    assert fails(worse, 300, generator(3), minimum_drop=0.01, alpha=0.05, tau=tau, prior=0.9).share <= 0.05
    assert passes(harmful, 300, generator(4), margin=0.03, alpha=0.05, tau=tau, prior=0.9).share <= 0.05


def test_shocks_left_out_deceive() -> None:
    """The same with the noise floor left out errs several times as often: the floor is what holds the 5 %."""
    harmful = replace(LOUD, drop=0.03)
    assert passes(harmful, 300, generator(5), margin=0.03, alpha=0.05, prior=0.9).share > 0.2


@pytest.mark.parametrize(("weight", "samples"), [(0.5, 203), (0.1, 113), (0.01, 92)])
def test_finds_a_bad_candidate(weight: float, samples: int) -> None:
    """94 → 79 is found after some hundred or two candidate samples, by one of six rubrics."""
    world = World(weights=(weight,) * 80, looks=30, drop=0.15)
    found = fails(world, 200, generator(6), minimum_drop=0.01, alpha=0.005 / 6, prior=0.94)
    assert found.share == 1
    assert found.samples.mean() == pytest.approx(samples, rel=0.15)


def test_passes_an_equal_candidate() -> None:
    """Identical arms at .9, 9 : 1, margin 3 points: passed after about 700 candidate samples (median)."""
    world = World(weights=(0.1,) * 120, looks=15, level=0.9)
    passed = passes(world, 200, generator(7), margin=0.03, alpha=0.05, prior=0.9)
    assert np.median(passed.samples) == pytest.approx(695, rel=0.15)


def test_late_break_is_found_in_time() -> None:
    """A candidate that loses 15 points after a clean day is found within the hour: starts are hourly."""
    world = World(weights=(0.5,) * 104, looks=2, drop=0.15, breaks_at=96)
    with_starts = fails(
        world, 60, generator(8), minimum_drop=0.01, alpha=0.001, prior=0.94, starts=(0, *range(4, 104, 4))
    )
    without = fails(world, 60, generator(8), minimum_drop=0.01, alpha=0.001, prior=0.94)
    assert np.quantile(with_starts.windows, 0.9) < 100
    assert np.median(without.windows) > np.median(with_starts.windows)


def until(all_windows: Blocks, windows: int) -> Blocks:
    """Return the first windows only."""
    return Blocks(
        all_windows.incumbent_passes[:windows],
        all_windows.incumbent_total[:windows],
        all_windows.candidate_passes[:windows],
        all_windows.candidate_total[:windows],
        starts=(0,),
        prior=all_windows.prior,
    )


def test_simulated_is_what_the_reader_reads() -> None:
    """The vectorised simulation crosses in the very window in which the reader says failed."""
    world = World(weights=(0.5,) * 60, looks=1, drop=0.05)
    quiet = Noise(windows=96, tau=0.0, tau_star=0.005, phi=1.0)
    for seed in range(5):
        crossed = fails(world, 1, generator(seed), minimum_drop=0.01, alpha=0.001, tau=0.005, prior=0.94)
        served = blocks(world, generator(seed), prior=0.94)
        failed = [read_canary(until(served, count), quiet, Rule(), 0.001).failed for count in range(1, 61)]
        first = failed.index(True) if True in failed else None
        assert first == (None if isinf(crossed.windows[0]) else int(crossed.windows[0]))
