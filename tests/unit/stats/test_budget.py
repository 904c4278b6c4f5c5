"""Budgets: false alarms, harm, small intents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.stats.budget import POOLED, alphas, pool_small, step_margin
from pointsman.stats.types import Rule

RULE = Rule()


@given(st.integers(1, 30), st.integers(1, 600))
def test_alphas_spend_the_budget(rubrics: int, intents: int) -> None:
    """All streams together spend the false alarms, half on each kind."""
    overall, each = alphas(RULE, rubrics, intents)
    assert overall * rubrics == pytest.approx(RULE.false_alarm / 2)
    assert each * intents == pytest.approx(RULE.false_alarm / 2)


def test_alphas_without_intents() -> None:
    """Without intents the rubrics keep their half: an intent that turns up later finds its own untouched."""
    assert alphas(RULE, 1, 0)[0] == RULE.false_alarm / 2


@pytest.mark.parametrize(
    ("weight", "share", "margin"),
    [
        (0.01, 1.0, 0.10),
        (0.25, 1.0, 0.10),
        (0.5, 1.0, 0.06),
        (1.0, 1.0, 0.03),
        (0.01, 0.25, 0.20),
        (0.01, 0.04, 0.25),
        (0.5, 0.25, 0.12),
        (1.0, 0.25, 0.06),
        (1.0, 0.04, 0.15),
        (1.0, 0.01, 0.15),
    ],
)
def test_step_margin(weight: float, share: float, margin: float) -> None:
    """Small weights allow much, promotion what is tolerated; small intents more, up to a cap."""
    assert step_margin(RULE, weight, share) == pytest.approx(margin)


@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0), st.floats(0.001, 1.0))
def test_step_margin_shrinks(one: float, two: float, share: float) -> None:
    """More weight never allows more harm."""
    smaller, larger = sorted((one, two))
    assert step_margin(RULE, smaller, share) >= step_margin(RULE, larger, share)


@pytest.mark.parametrize(
    ("weight", "share", "field"), [(0.0, 1.0, "next_weight"), (1.1, 1.0, "next_weight"), (0.5, 0.0, "share")]
)
def test_step_margin_refuses(weight: float, share: float, field: str) -> None:
    """What is no share is named."""
    with pytest.raises(ValueError, match=field):
        step_margin(RULE, weight, share)


@pytest.mark.parametrize(
    ("totals", "names"),
    [
        ({}, {}),
        ({"": 500.0}, {}),
        ({"law": 0.0}, {"law": POOLED}),
        ({"law": 60.0, "math": 40.0, "": 900.0}, {"law": "law", "math": "math"}),
        ({"law": 96.0, "math": 4.0}, {"law": "law", "math": "math"}),
        ({"law": 97.0, "math": 3.0, "art": 0.0}, {"law": "law", "math": POOLED, "art": POOLED}),
    ],
)
def test_pool_small(totals: dict[str, float], names: dict[str, str]) -> None:
    """Intents under 4 % of the known traffic pool; none is skipped; the unknown one is no intent."""
    assert pool_small(totals) == names
