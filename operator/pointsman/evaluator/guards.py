"""Guard rubrics: what every served request says about the tier that served it. Always on, without text. Pure.

Every request with a policy is in every rubric's denominator, whatever became of it: a candidate cannot look
good by failing in a way that is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from pointsman.contract import FAIL_OPEN
from pointsman.evaluator.prices import tier_price

if TYPE_CHECKING:
    from pointsman.evaluator.prices import PolicyFacts, RevisionFacts
    from pointsman.evaluator.record import AccessRecord


class Rubric(StrEnum):
    """Rubrics with a pass and a fail."""

    ANSWERED = "answered"
    """The tier gave an answer: no refused or broken call, no time-out, not empty."""
    ABORTED = "aborted"
    """Fails when the client left before the answer's end."""
    FAIL_OPEN = "failOpen"
    """Fails when the request reached strong without a decision."""
    REFUSAL = "refusal"
    """Fails when the answer was a refusal."""
    RETRY = "retry"
    """Fails when the first attempt was not the one that answered."""


FAILING_STATUS: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Beside 5xx. 401, 403 and 404 are the tier's too: key, path and model name are ours, not the client's.
Other 4xx are about what the client sent."""

FAILING_FLAGS: Final = frozenset(
    {
        "no_healthy_upstream",
        "upstream_request_timeout",
        "upstream_connection_failure",
        "upstream_connection_termination",
        "upstream_remote_reset",
        "upstream_protocol_error",
        "upstream_overflow",
        "upstream_retry_limit_exceeded",
        "upstream_max_stream_duration_reached",
        "stream_idle_timeout",
        "duration_timeout",
        "no_cluster_found",
        "dns_resolution_failure",
    }
)
"""Response flags of an answer that did not come, or broke off after its 200 was sent."""

ABORT_FLAGS: Final = frozenset({"downstream_connection_termination", "downstream_remote_reset"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rubric's result for one tier."""

    rubric: Rubric
    tier: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Measures:
    """The continuous guards of one request; None where unknown. Costs are nano-dollars."""

    ttft_us: int | None
    duration_us: int
    decision_us: int | None
    output_tokens: int | None
    cost_nano: int | None
    baseline_nano: int | None
    """What the same tokens cost at the last tier's price: an estimate, a strong answer has another length."""


def failed_rubrics(record: AccessRecord) -> frozenset[Rubric]:
    """Return the rubrics that the answer failed (of the tier that answered, or should have)."""
    checks = {
        Rubric.ANSWERED: not _answered(record),
        Rubric.ABORTED: bool(ABORT_FLAGS.intersection(record.flags)),
        Rubric.FAIL_OPEN: record.reason in FAIL_OPEN,
        Rubric.REFUSAL: record.refusal,
        Rubric.RETRY: record.failed_over or record.attempts > 1,
    }
    return frozenset(rubric for rubric, failed in checks.items() if failed)


def outcomes(record: AccessRecord) -> tuple[Outcome, ...]:
    """Return each rubric's result, and after a failover the chosen tier's failed attempt. No policy: none."""
    if not record.policy:
        return ()
    failed = failed_rubrics(record)
    results = [Outcome(rubric, record.label_tier, rubric not in failed) for rubric in Rubric]
    if record.failed_over:
        results.append(Outcome(Rubric.ANSWERED, record.tier, passed=False))
    return tuple(results)


def arm_outcomes(record: AccessRecord) -> tuple[Outcome, ...]:
    """Return exactly one result of each rubric: what the request says about its arm.

    Where the chosen tier failed and another answered, `answered` fails, and counts for the chosen tier: an
    arm that lives on its fallback does not work.
    """
    failed = failed_rubrics(record)
    return tuple(
        Outcome(rubric, record.tier, passed=False)
        if rubric is Rubric.ANSWERED and record.failed_over
        else Outcome(rubric, record.label_tier, rubric not in failed)
        for rubric in Rubric
    )


def answerless(record: AccessRecord) -> bool:
    """Whether there is no answer whose text could be scored: an error, nothing, or half of one."""
    if not HTTPStatus.OK <= record.status < HTTPStatus.MULTIPLE_CHOICES:
        return True
    return not _answered(record) or bool(ABORT_FLAGS.intersection(record.flags))


def measure(record: AccessRecord, policy: PolicyFacts | None, revision: RevisionFacts | None) -> Measures:
    """Return the continuous guards. A cost needs tokens and a price; a baseline needs a cost beside it."""
    cost = baseline = None
    price = tier_price(policy, revision, record.label_tier)
    if price is not None and (record.prompt_tokens is not None or record.completion_tokens is not None):
        tokens = record.prompt_tokens or 0, record.completion_tokens or 0
        cost = price.cost_nano(*tokens)
        strongest = policy.strongest if policy is not None else None
        baseline = strongest.cost_nano(*tokens) if strongest is not None else None
    return Measures(
        ttft_us=record.ttft_us,
        duration_us=record.duration_us,
        decision_us=record.decision_us,
        output_tokens=record.completion_tokens,
        cost_nano=cost,
        baseline_nano=baseline,
    )


def _answered(record: AccessRecord) -> bool:
    if record.status >= HTTPStatus.INTERNAL_SERVER_ERROR or record.status in FAILING_STATUS:
        return False
    if FAILING_FLAGS.intersection(record.flags):
        return False
    # An answer that the client cut short may well be empty so far; that is not the tier's doing.
    return not record.empty or bool(ABORT_FLAGS.intersection(record.flags))
