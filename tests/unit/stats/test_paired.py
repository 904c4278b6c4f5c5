"""Pairs: exact fairness, monotone bounds, mirrored arms."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.stats.paired import log_fail, log_pass, read_paired
from pointsman.stats.types import Pairs, Rule

RULE = Rule()
COUNTS = st.builds(Pairs, st.integers(0, 500), st.integers(0, 200), st.integers(0, 200), st.integers(0, 100))
DROPS = st.floats(-0.5, 0.5)


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.3))
def test_fair(worse: float, better: float, slack: float) -> None:
    """With a true drop at or under delta0 a pair gains nothing on average; nor at or over a margin."""
    drop = worse - better
    chances = (
        (Pairs(only_incumbent=1), worse),
        (Pairs(only_candidate=1), better),
        (Pairs(both=1), 1 - worse - better),
    )
    assert sum(exp(log_fail(pair, 1.0, drop + slack)) * chance for pair, chance in chances) <= 1 + 1e-9
    assert sum(exp(log_pass(pair, 1.0, drop - slack)) * chance for pair, chance in chances) <= 1 + 1e-9


@given(COUNTS, DROPS, DROPS)
def test_monotone(pairs: Pairs, one: float, two: float) -> None:
    """The evidence for a drop beyond delta0 falls as delta0 grows; that for a drop below it grows."""
    smaller, larger = sorted((one, two))
    assert log_fail(pairs, 1.0, smaller) >= log_fail(pairs, 1.0, larger) - 1e-9
    assert log_pass(pairs, 1.0, smaller) <= log_pass(pairs, 1.0, larger) + 1e-9


@given(COUNTS, DROPS)
def test_mirror(pairs: Pairs, delta0: float) -> None:
    """Exchange the arms, and Fail is Pass."""
    swapped = replace(pairs, only_incumbent=pairs.only_candidate, only_candidate=pairs.only_incumbent)
    assert log_fail(pairs, 1.0, delta0) == pytest.approx(log_pass(swapped, 1.0, -delta0))


@given(COUNTS)
def test_interval(pairs: Pairs) -> None:
    """The interval holds the observed drop, and says what the verdict says."""
    reading = read_paired(pairs, 1.0, RULE, 0.01)
    assert reading.low - 1e-3 <= reading.drop <= reading.high + 1e-3
    assert reading.failed == (reading.low >= RULE.minimum_drop)


@given(COUNTS)
def test_which_agreement_does_not_matter(pairs: Pairs) -> None:
    """Both passing and neither passing say the same: no difference."""
    swapped = replace(pairs, both=pairs.neither, neither=pairs.both)
    assert read_paired(pairs, 1.0, RULE, 0.01) == read_paired(swapped, 1.0, RULE, 0.01)


@pytest.mark.parametrize(
    ("pairs", "failed", "passed"),
    [
        (Pairs(), False, False),
        (Pairs(both=20), False, False),
        (Pairs(both=1000), False, True),
        (Pairs(both=880, only_incumbent=20, only_candidate=20, neither=80), False, True),
        (Pairs(both=800, only_incumbent=120, only_candidate=10, neither=70), True, False),
        (Pairs(both=60, only_incumbent=40), True, False),
    ],
)
def test_verdicts(pairs: Pairs, failed: bool, passed: bool) -> None:  # noqa: FBT001 - columns of the table
    """Worse fails, alike passes, little data does neither."""
    reading = read_paired(pairs, 1.0, RULE, 0.001)
    assert (reading.failed, reading.high < RULE.tolerated_drop) == (failed, passed)


def test_no_pairs() -> None:
    """Without pairs nothing is known."""
    reading = read_paired(Pairs(), 1.0, RULE, 0.001)
    assert (reading.drop, reading.low, reading.high) == (0.0, -1.0, 1.0)
    assert reading.log_e_fail == pytest.approx(0.0)


def test_phi() -> None:
    """Ten pairs a session that all say the same are worth one."""
    tenfold = read_paired(Pairs(900, 150, 20, 200), 10.0, RULE, 0.001)
    assert tenfold.log_e_fail == pytest.approx(read_paired(Pairs(90, 15, 2, 20), 1.0, RULE, 0.001).log_e_fail)
