"""Paired reading of a gate: what groups, intents and few cases do to a verdict."""

from __future__ import annotations

import pytest

from pointsman.gate.paired import Moments, Pair, judge, moments, worst
from pointsman.stats.types import Rule

RULE = Rule(minimum_drop=0.01, tolerated_drop=0.03)


def pairs(both: int, lost: int, won: int = 0, *, intent: str = "", group: str = "") -> list[Pair]:
    """Return so many cases: right in both, lost by the candidate, won by it."""
    outcomes = [(1.0, 1.0)] * both + [(1.0, 0.0)] * lost + [(0.0, 1.0)] * won
    return [Pair(group or f"{intent}{i}", intent, *outcome) for i, outcome in enumerate(outcomes)]


def test_moments_are_sums_over_cases_and_clusters() -> None:
    """Capitals are of a cluster's sums: here one of three cases and one of one."""
    found = moments([Pair("a", "", 1, 0), Pair("a", "", 1, 0), Pair("a", "", 0, 1), Pair("b", "", 1, 1)])
    assert found == Moments(n=4, clusters=2, d=1.0, dd=3.0, DD=1.0, Dn=3.0, nn=10.0)


@pytest.mark.parametrize(
    ("cases", "verdict"),
    [
        (pairs(900, 100), "fail"),
        (pairs(1000, 0), "pass"),
        (pairs(800, 10, 100), "pass"),
        (pairs(100, 3), "underpowered"),
        (pairs(10, 0), "underpowered"),
        ([], "underpowered"),
    ],
)
def test_a_verdict_needs_cases(cases: list[Pair], verdict: str) -> None:
    """Proven either way, or underpowered with the number that would do."""
    found = judge("good", cases, RULE, min_cases=1)
    assert found.verdict == verdict
    assert (found.overall.needed_n > found.overall.n) == (verdict == "underpowered")


def test_alike_cases_are_one_piece_of_evidence() -> None:
    """A hundred copies of ten questions prove less than a thousand questions."""
    apart = judge("good", pairs(920, 80), RULE)
    alike = [
        Pair(f"g{i % 10}", "", *((1.0, 0.0) if i % 10 == 0 and i < 800 else (1.0, 1.0))) for i in range(1000)
    ]
    together = judge("good", alike, RULE)
    assert apart.overall.drop == together.overall.drop == pytest.approx(0.08)
    assert (apart.verdict, together.verdict) == ("fail", "underpowered")


def test_one_intent_can_fail_the_whole() -> None:
    """A drop of 40 points in a thirtieth of the cases hides in the average, and not here."""
    cases = pairs(2900, 30, 30, intent="math") + pairs(60, 40, intent="law")
    found = judge("good", cases, RULE)
    assert found.overall.verdict != "fail"
    assert found.verdict == "fail"
    assert "in law a drop of at least" in found.because


def test_intents_share_the_false_alarms() -> None:
    """The more intents, the wider each one's interval."""
    one = judge("good", pairs(90, 10, intent="a"), RULE)
    many = judge("good", [p for name in "abcdefgh" for p in pairs(90, 10, intent=name)], RULE)
    assert many.intents["a"].low < one.intents["a"].low


def test_fewer_cases_than_asked_for_decide_nothing() -> None:
    """`minCases` holds for a fail and for a pass."""
    assert judge("good", pairs(20, 20), RULE, min_cases=50).verdict == "underpowered"


def test_what_could_not_be_scored_is_no_pass() -> None:
    """Six cases in a hundred may be the bad ones; those without a reference lack it for both models."""
    assert judge("good", pairs(940, 0), RULE, unscored={"judge_failed": 60}).verdict == "underpowered"
    assert judge("good", pairs(940, 0), RULE, unscored={"no_reference": 600}).verdict == "pass"


def test_a_gate_passes_where_every_rubric_does() -> None:
    """One fail fails; one open rubric holds; no rubric is no pass."""
    assert worst(["pass", "fail", "underpowered"]) == "fail"
    assert worst(["pass", "underpowered"]) == "underpowered"
    assert worst(["pass", "pass"]) == "pass"
    assert worst([]) == "underpowered"
