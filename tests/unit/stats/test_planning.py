"""Forecasts: hours, first weights, missing samples."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from pointsman.stats.planning import Plan, first_weight, hours_to_promotion, samples_needed, step_hours
from pointsman.stats.types import Reading, Rule

RULE = Rule()
SHARES = (1.0, 0.6, 0.2, 0.12, 0.04, 0.04)
PLAN = Plan(weights=(0.01, 0.05, 0.25, 0.5), minimum_hours=(0.25,) * 4, rate=10.0, p=0.94, shares=SHARES)
OPEN = Reading(0, 0, 0.0, -1.0, 1.0, 0.0, False)


@pytest.mark.parametrize(
    ("rate", "first", "hours"), [(10.0, 0.01, 3.2), (100.0, 0.01, 1.0), (1.0, 0.01, 25.0), (1.0, 0.05, 7.4)]
)
def test_hours_to_promotion(rate: float, first: float, hours: float) -> None:
    """Identical arms, intents down to 4 %: about the hours that simulated rollouts took."""
    plan = replace(PLAN, rate=rate, weights=(first, *PLAN.weights[1:]))
    assert hours_to_promotion(plan, RULE) == pytest.approx(hours, rel=0.25)


def test_minimum_durations_hold() -> None:
    """However much traffic, no step is shorter than its minimum."""
    assert step_hours(replace(PLAN, rate=1e5), RULE) == pytest.approx(PLAN.minimum_hours)


def test_louder_takes_longer() -> None:
    """Noise costs time, and without a measured floor it never ends."""
    quiet, loud, never = (hours_to_promotion(replace(PLAN, tau_star=tau), RULE) for tau in (0.0, 0.05, inf))
    assert quiet < loud < never == inf


def test_first_weight() -> None:
    """A slow policy fits within a day from a larger first weight, which the forecast confirms."""
    slow = replace(PLAN, rate=0.7)
    weight = first_weight(slow, RULE)
    assert hours_to_promotion(slow, RULE) > 24
    assert weight is not None
    assert hours_to_promotion(replace(slow, weights=(weight, 0.05, 0.25, 0.5)), RULE) <= 24


def test_no_first_weight() -> None:
    """With hardly any traffic no weight fits."""
    assert first_weight(replace(PLAN, rate=0.001), RULE) is None


def test_samples_needed() -> None:
    """At .9, margin 3 points and 9:1, near the 695 samples that simulated candidates needed in the median."""
    assert samples_needed(OPEN, RULE, 0.03, p=0.9, per_candidate=9.0) == pytest.approx(740, rel=0.2)


def test_samples_count_down() -> None:
    """What is there is not needed again; at least one is, until the margin is passed."""
    whole = samples_needed(OPEN, RULE, 0.03, p=0.9, per_candidate=9.0)
    some = replace(OPEN, n_candidate=500)
    assert samples_needed(some, RULE, 0.03, p=0.9, per_candidate=9.0) == whole - 500
    assert samples_needed(replace(OPEN, n_candidate=10**6), RULE, 0.03, p=0.9, per_candidate=9.0) == 1


@pytest.mark.parametrize("done", [{"high": 0.02}, {"failed": True}])
def test_no_samples_needed(done: dict[str, float | bool]) -> None:
    """Passed or failed, nothing is waited for."""
    assert samples_needed(replace(OPEN, **done), RULE, 0.03, p=0.9, per_candidate=9.0) == 0  # type: ignore[arg-type] # fields of two types


def test_samples_that_never_do() -> None:
    """Unmeasured noise is not waited out."""
    assert samples_needed(OPEN, RULE, 0.03, p=0.9, per_candidate=9.0, tau_star=inf) == -1
