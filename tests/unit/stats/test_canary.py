"""Reading a canary: bounds, restarts, noise, and what must not change the number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_world import World, blocks
from pointsman.stats.canary import read_canary
from pointsman.stats.types import Blocks, Noise, Pairs, Reading, Rule

QUIET = Noise(windows=96, tau=0.0, tau_star=0.0, phi=1.0)
RULE = Rule()
ALPHA = 0.001


def served(seed: int = 1, **world: float | tuple[float, ...]) -> Blocks:
    """Return windows of a world, 1:1, unless said otherwise."""
    made = World(**{"weights": (0.5,) * 20, "looks": 1, **world})  # type: ignore[arg-type] # fields of many types
    return blocks(made, np.random.default_rng(seed), prior=made.level)


def counts(passes_i: float, n_i: float, passes_c: float, n_c: float) -> Blocks:
    """Return one window."""
    return Blocks(np.array([passes_i]), np.array([n_i]), np.array([passes_c]), np.array([n_c]))


CASES: dict[str, tuple[Blocks, bool, bool]] = {
    "alike": (served(), False, True),
    "better": (served(drop=-0.04), False, True),
    "4 points worse": (served(drop=0.04, weights=(0.5,) * 60), True, False),
    "15 points worse": (served(drop=0.15), True, False),
    "few samples": (served(per_window=20, weights=(0.5,) * 2), False, False),
}


@pytest.mark.parametrize("name", CASES)
def test_verdicts(name: str) -> None:
    """Worse fails, alike and better pass, little data does neither."""
    given_blocks, failed, passed = CASES[name]
    reading = read_canary(given_blocks, QUIET, RULE, ALPHA)
    assert (reading.failed, reading.high < RULE.tolerated_drop) == (failed, passed)


def test_no_data() -> None:
    """Without a window nothing is known and nothing failed."""
    none = np.array([])
    reading = read_canary(Blocks(none, none, none, none), QUIET, RULE, ALPHA)
    assert replace(reading, log_e_fail=0.0) == Reading(0, 0, 0.0, -1.0, 1.0, 0.0, False)
    assert reading.log_e_fail <= 0


def test_one_arm_only() -> None:
    """A candidate without samples is neither good nor bad."""
    reading = read_canary(counts(90, 100, 0, 0), QUIET, RULE, ALPHA)
    assert (reading.n_incumbent, reading.n_candidate, reading.low, reading.high) == (100, 0, -1.0, 1.0)


WINDOWS = st.lists(
    st.tuples(st.integers(0, 60), st.floats(0, 1), st.integers(0, 60), st.floats(0, 1)),
    min_size=1,
    max_size=8,
)


def drawn(rows: list[tuple[int, float, int, float]]) -> Blocks:
    """Return windows with these totals and shares of passes."""
    table = np.array(
        [(round(n_i * p_i), n_i, round(n_c * p_c), n_c) for n_i, p_i, n_c, p_c in rows], np.float64
    ).T
    return Blocks(table[0], table[1], table[2], table[3])


@settings(max_examples=40)
@given(WINDOWS)
def test_interval(rows: list[tuple[int, float, int, float]]) -> None:
    """Low is never above high, and low reaches the margin exactly when the stream failed."""
    reading = read_canary(drawn(rows), QUIET, RULE, 0.05)
    assert -1 <= reading.low <= reading.high <= 1
    assert reading.failed == (reading.low >= RULE.minimum_drop)


@settings(max_examples=40)
@given(WINDOWS, st.floats(0.0, 0.1), st.floats(0.0, 0.1))
def test_fails_at_every_smaller_margin(
    rows: list[tuple[int, float, int, float]], one: float, two: float
) -> None:
    """Who fails at a margin fails at every smaller one."""
    smaller, larger = (
        read_canary(drawn(rows), QUIET, replace(RULE, minimum_drop=drop), 0.05) for drop in sorted((one, two))
    )
    assert smaller.failed or not larger.failed


@settings(max_examples=30)
@given(WINDOWS, st.integers(0, 8))
def test_empty_windows_change_nothing(rows: list[tuple[int, float, int, float]], at: int) -> None:
    """A window in which nothing was served, wherever it lies, leaves the reading as it was."""
    with_gap = [*rows[:at], (0, 0.0, 0, 0.0), *rows[at:]]
    assert read_canary(drawn(with_gap), QUIET, RULE, ALPHA) == read_canary(drawn(rows), QUIET, RULE, ALPHA)


def test_same_again() -> None:
    """Computed anew from the same counts, as after a crash, the reading is the same to the last digit."""
    assert read_canary(served(), QUIET, RULE, ALPHA) == read_canary(served(), QUIET, RULE, ALPHA)


def test_phi_divides_counts() -> None:
    """Sessions that answer alike, three requests each, say as much as a third of the requests would."""
    once = served(drop=0.05)
    thrice = Blocks(
        incumbent_passes=once.incumbent_passes * 3,
        incumbent_total=once.incumbent_total * 3,
        candidate_passes=once.candidate_passes * 3,
        candidate_total=once.candidate_total * 3,
        prior=once.prior,
    )
    plain, divided = (
        read_canary(once, QUIET, RULE, ALPHA),
        read_canary(thrice, replace(QUIET, phi=3.0), RULE, ALPHA),
    )
    assert divided.log_e_fail == pytest.approx(plain.log_e_fail)
    assert (divided.low, divided.high) == pytest.approx((plain.low, plain.high), abs=2e-4)
    assert divided.n_candidate == plain.n_candidate * 3


def test_noise_widens() -> None:
    """The louder the noise, the wider the interval."""
    readings = [read_canary(served(), replace(QUIET, tau_star=tau), RULE, ALPHA) for tau in (0.0, 0.02, 0.05)]
    widths = [reading.high - reading.low for reading in readings]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]


def test_unmeasured_noise_decides_nothing() -> None:
    """Without a noise floor even ruin is no verdict of this stream."""
    reading = read_canary(served(drop=0.5), replace(QUIET, tau_star=float("inf")), RULE, ALPHA)
    assert (reading.failed, reading.low, reading.high) == (False, -1.0, 1.0)


def test_late_break() -> None:
    """A start every hour finds a break that a clean day would have buried."""
    broken = served(weights=(0.5,) * 104, drop=0.12, breaks_at=100)
    hourly = replace(broken, starts=(0, *range(4, 104, 4)))
    assert not read_canary(broken, QUIET, RULE, ALPHA).failed
    assert read_canary(hourly, QUIET, RULE, ALPHA).failed


def test_fail_beats_pass() -> None:
    """Good for a day, then broken: it failed, and no pass is shown beside it."""
    broken = served(weights=(0.5,) * 104, drop=0.12, breaks_at=100)
    reading = read_canary(replace(broken, starts=(0, 100)), QUIET, RULE, ALPHA)
    assert reading.failed
    assert reading.high >= reading.low >= RULE.minimum_drop


def test_simpson() -> None:
    """Arms that are alike in every window are alike, though the pooled rates are 12 points apart."""
    weights = np.array([0.1] * 10 + [0.9] * 10)
    levels = np.array([0.95] * 10 + [0.8] * 10)
    n_c = 1000.0 * weights
    n_i = 1000.0 - n_c
    alike = Blocks(np.multiply(n_i, levels), n_i, np.multiply(n_c, levels), n_c, prior=0.95)
    pooled = (n_i * levels).sum() / n_i.sum() - (n_c * levels).sum() / n_c.sum()
    reading = read_canary(alike, QUIET, RULE, ALPHA)
    assert pooled == pytest.approx(0.12)
    assert reading.drop == pytest.approx(0, abs=1e-12)
    assert not reading.failed


def test_shadow_helps_to_pass() -> None:
    """Pairs of the shadow count for the Pass of the canary."""
    few = served(per_window=60, weights=(0.1,) * 4)
    pairs = Pairs(both=800, only_incumbent=10, only_candidate=10, neither=80)
    alone, helped = read_canary(few, QUIET, RULE, ALPHA), read_canary(few, QUIET, RULE, ALPHA, pairs)
    assert alone.high > RULE.tolerated_drop > helped.high


def test_shadow_never_fails_a_canary() -> None:
    """The Fail of the canary is its own: ruinous pairs do not move it."""
    few = served(per_window=60, weights=(0.1,) * 4)
    ruin = Pairs(both=100, only_incumbent=500, only_candidate=0, neither=0)
    alone, helped = read_canary(few, QUIET, RULE, ALPHA), read_canary(few, QUIET, RULE, ALPHA, ruin)
    assert (alone.log_e_fail, alone.low) == (helped.log_e_fail, helped.low)
