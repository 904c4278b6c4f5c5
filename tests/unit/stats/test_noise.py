"""The noise floor: found when there, small when not, careful with little data."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from scipy.stats import chi2

from decision_world import World, halves
from pointsman.stats.noise import noise_floor, overdispersion
from pointsman.stats.types import Halves

SHOCK = 0.02


def measured(windows: int, shock: float = 0.0, seed: int = 3, per_window: int = 4000) -> Halves:
    """Return halves of a world with shocks of each half."""
    world = World(weights=(), shock=shock, cycle=0.03, level=0.9, per_window=per_window)
    return halves(world, windows, np.random.default_rng(seed))


def one(a: float, b: float, n: float, windows: int) -> Halves:
    """Return windows that are all the same: a and b passes of n each."""
    same = np.ones(windows)
    return Halves(a * same, n * same, b * same, n * same)


def test_worked() -> None:
    """S - b and k S / chi² - b, by hand: 64 windows of 180 and 160 passes of 200."""
    noise = noise_floor(one(180, 160, 200, 64), phi=2.0)
    squares, chance = 0.1**2, 0.85 * 0.15 * 400 / 399 * (2 / 200) * 2.0
    upper = sqrt(64 * squares / chi2.ppf(0.05, 64) - chance)
    assert noise.tau == pytest.approx(sqrt(squares - chance))
    assert noise.tau_star == pytest.approx(max(upper, 1.5 * sqrt(squares - chance)))
    assert (noise.windows, noise.phi) == (64, 2.0)


def test_finds_the_shock() -> None:
    """Shocks of 2 points a half are found, whatever the level does meanwhile."""
    noise = noise_floor(measured(400, SHOCK))
    assert noise.tau == pytest.approx(SHOCK * sqrt(2), rel=0.15)
    assert noise.tau_star == pytest.approx(1.5 * noise.tau)


def test_quiet() -> None:
    """Where halves differ by chance alone, the floor is small, and smaller the longer one has looked."""
    short, long = (noise_floor(measured(windows)).tau_star for windows in (40, 600))
    assert long < short < 0.01


def test_few_windows_are_doubted() -> None:
    """Eight windows allow more noise than they show."""
    noise = noise_floor(measured(8))
    assert noise.tau_star > 2 * noise_floor(measured(600)).tau_star


def test_pooling_lends_windows() -> None:
    """Eight windows of each of 14 intents together are less doubted than eight."""
    intents = [measured(8, seed=seed) for seed in range(14)]
    alone, pooled = noise_floor(intents[0]), noise_floor(intents[0], pooled=intents)
    assert pooled.windows == 112
    assert pooled.tau_star < alone.tau_star


def test_pooling_is_in_units_of_chance() -> None:
    """A small intent inherits the ratio, not the absolute noise, of larger ones."""
    large, small = measured(20, SHOCK), measured(4, per_window=100)
    ratio = noise_floor(large, pooled=[large]).tau / noise_floor(small, pooled=[large]).tau
    assert ratio == pytest.approx(sqrt(100 / 4000), rel=0.4)


def test_enough_windows_speak_for_themselves() -> None:
    """From 32 windows on, the others are not asked."""
    own = measured(32)
    assert noise_floor(own, pooled=[measured(500, SHOCK)]) == noise_floor(own)


def test_nothing_measured() -> None:
    """Without windows the noise is unknown, which is not the same as none."""
    none = np.array([])
    assert noise_floor(Halves(none, none, none, none)).tau_star == inf


def test_empty_halves_are_left_out() -> None:
    """Windows with one half only bear no comparison."""
    gappy = Halves(np.array([9.0, 5.0]), np.array([10.0, 5.0]), np.array([8.0, 0.0]), np.array([10.0, 0.0]))
    assert noise_floor(gappy).windows == 1


def test_all_pass() -> None:
    """Where every request passes there is no noise."""
    assert noise_floor(one(50, 50, 50, 40)).tau_star == pytest.approx(0, abs=1e-6)


def test_overdispersion_of_independent_requests() -> None:
    """Sessions of one request each: no overdispersion."""
    assert overdispersion(xx=90, xn=90, nn=100, passes=90, total=100) == pytest.approx(1.0)


def test_overdispersion_of_copies() -> None:
    """Sessions of five requests that all go alike: five."""
    assert overdispersion(xx=90 * 25, xn=90 * 25, nn=100 * 25, passes=450, total=500) == pytest.approx(5.0)


@pytest.mark.parametrize("passes", [0, 100])
def test_overdispersion_without_variance(passes: float) -> None:
    """Where all or none pass there is nothing to disperse."""
    assert overdispersion(xx=passes, xn=passes, nn=100, passes=passes, total=100) == 1.0


def test_overdispersion_without_data() -> None:
    """No data, no overdispersion."""
    assert overdispersion(0, 0, 0, 0, 0) == 1.0
