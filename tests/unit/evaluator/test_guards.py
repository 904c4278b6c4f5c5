"""Guard rubrics: which requests fail which, and for which tier."""

from __future__ import annotations

from typing import Any

import pytest

from evaluator_builders import policy_object, record
from pointsman.contract import FAIL_OPEN, Reason
from pointsman.evaluator.guards import Outcome, Rubric, measure, outcomes
from pointsman.evaluator.prices import Price, RevisionFacts, policy_facts

ABORT = ("downstream_connection_termination",)
OVER = {"served_tier": "strong"}

FAILURES: list[tuple[str, dict[str, Any], set[tuple[str, str]]]] = [
    ("good", {}, set()),
    ("500", {"status": 500}, {("answered", "cheap")}),
    ("529 overloaded", {"status": 529}, {("answered", "cheap")}),
    ("429", {"status": 429}, {("answered", "cheap")}),
    ("401: our key is wrong", {"status": 401}, {("answered", "cheap")}),
    ("404: our model name is wrong", {"status": 404}, {("answered", "cheap")}),
    ("400: the client's own", {"status": 400}, set()),
    ("timeout", {"status": 504, "flags": ("upstream_request_timeout",)}, {("answered", "cheap")}),
    ("idle after the 200", {"flags": ("stream_idle_timeout",)}, {("answered", "cheap")}),
    ("broke off after the 200", {"flags": ("upstream_protocol_error",)}, {("answered", "cheap")}),
    ("empty", {"empty": True}, {("answered", "cheap")}),
    (
        "client left before an answer",
        {"status": 0, "served_tier": "", "flags": ABORT},
        {("aborted", "cheap")},
    ),
    ("client left mid-answer", {"flags": ABORT, "empty": True}, {("aborted", "cheap")}),
    ("reset by the client", {"flags": ("downstream_remote_reset",)}, {("aborted", "cheap")}),
    ("refusal", {"refusal": True}, {("refusal", "cheap")}),
    ("second attempt", {"attempts": 2}, {("retry", "cheap")}),
    ("failover", OVER, {("answered", "cheap"), ("retry", "strong")}),
    (
        "failover, then 500",
        OVER | {"status": 500},
        {("answered", "cheap"), ("answered", "strong"), ("retry", "strong")},
    ),
    (
        "failover, client left",
        OVER | {"flags": ABORT},
        {("answered", "cheap"), ("retry", "strong"), ("aborted", "strong")},
    ),
]


@pytest.mark.parametrize(("changes", "failed"), [c[1:] for c in FAILURES], ids=[c[0] for c in FAILURES])
def test_failures(changes: dict[str, Any], failed: set[tuple[str, str]]) -> None:
    """Each case fails exactly these rubrics; all others pass, and the tier that answered has one of each."""
    results = outcomes(record(**changes))
    assert {(o.rubric.value, o.tier) for o in results if not o.passed} == failed
    tier = record(**changes).label_tier
    assert [o.rubric for o in results if o.tier == tier] == list(Rubric)


@pytest.mark.parametrize("reason", Reason)
def test_fail_open_is_what_the_contract_says(reason: Reason) -> None:
    """Every fail-open reason fails the rubric, every other passes."""
    found = [o for o in outcomes(record(reason=reason.value)) if o.rubric is Rubric.FAIL_OPEN]
    assert found == [Outcome(Rubric.FAIL_OPEN, "cheap", passed=reason not in FAIL_OPEN)]


def test_requests_without_a_policy_count_for_none() -> None:
    """A 404 for an unknown model says nothing about any tier."""
    assert outcomes(record(policy="", reason="unknown_model", status=404)) == ()


def test_cost_is_by_the_tier_that_answered_and_baseline_by_the_last() -> None:
    """100 + 20 tokens: 0.15 and 0.60 dollars a million on cheap, 2.50 and 10.00 on strong."""
    found = measure(record(), policy_facts(policy_object()), None)
    assert (found.cost_nano, found.baseline_nano) == (27_000, 450_000)
    over = measure(record(served_tier="strong"), policy_facts(policy_object()), None)
    assert over.cost_nano == over.baseline_nano == 450_000


def test_a_tier_that_the_policy_dropped_costs_what_its_revision_says() -> None:
    """Prices are live, but a revision still in traffic may have a tier that the spec has no more."""
    revision = RevisionFacts("chat/support", "r", (("old", Price(1_000_000_000, 0)), ("cheap", Price(9, 9))))
    facts = policy_facts(policy_object())
    assert measure(record(served_tier="old"), facts, revision).cost_nano == 100_000
    assert measure(record(), facts, revision).cost_nano == 27_000


@pytest.mark.parametrize(
    "changes", [{"prompt_tokens": None, "completion_tokens": None}, {"served_tier": "unknown"}]
)
def test_no_tokens_or_no_price_is_no_cost(changes: dict[str, Any]) -> None:
    """An unknown cost is not a cost of zero, and has no baseline either."""
    found = measure(record(**changes), policy_facts(policy_object()), None)
    assert (found.cost_nano, found.baseline_nano) == (None, None)


def test_an_unknown_policy_has_no_cost() -> None:
    """A request may come in before its policy was listed."""
    assert measure(record(), None, None).cost_nano is None


def test_capture_rule_resolves_defaults() -> None:
    """Unset maxBytes and retention are 256 KiB and 168h."""
    rule = policy_facts(policy_object(capture_spec={"samplePermille": 1000, "redact": ["Email"]})).capture
    assert rule is not None
    assert (rule.max_bytes, rule.redact, rule.retention_s) == (262_144, ("Email",), 604_800)
    assert policy_facts(policy_object()).capture is None
