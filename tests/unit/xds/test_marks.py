"""Marks: an Envoy's route version tells a new server which plans it has."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from plans import arm, policy, tier
from pointsman.xds.marks import marked, plans_in

POLICIES = [policy(name, arm(tier(port=port))) for name in "abcd" for port in (8000, 9000)]


@given(st.sets(st.sampled_from(POLICIES)), st.sets(st.sampled_from(POLICIES)))
def test_exactly_the_plans_that_are_there_are_recognised(has: set[object], wanted: set[object]) -> None:
    """A version that lists some plans recognises those, and no other form of the same policy."""
    version = marked("0123", has)  # type: ignore[arg-type] # hypothesis loses the type
    for plan in wanted:
        assert plans_in(version, [plan]) == ({plan.key} if plan in has else set())  # type: ignore[list-item,attr-defined]


def test_a_generation_that_changes_nothing_is_the_same_plan() -> None:
    """Envoy never sees the generation, so a new one needs no new version."""
    plan = POLICIES[0]
    assert marked("0", [plan]) == marked("0", [replace(plan, generation=7)])


def test_any_other_version_tells_nothing() -> None:
    """Versions of another server, or broken ones, are no marks."""
    for version in ("", "0123", "0123~", "0123~\x00", "~" * 9):
        assert plans_in(version, POLICIES) == set()
