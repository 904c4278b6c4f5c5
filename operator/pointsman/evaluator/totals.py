"""What one stored request adds to the counters. Integers only, so that sums are exact in any order. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pointsman.evaluator.guards import Measures, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.evaluator.record import AccessRecord

_SCOPE: Final = ("namespace", "policy", "revision")
_SECONDS: Final = 1_000_000
_DOLLARS: Final = 1_000_000_000


class Series(NamedTuple):
    """One number of one family. `part` is "" for a counter, a bucket's index or "sum" for a histogram."""

    family: str
    labels: tuple[str, ...]
    part: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its values are stored as integers and divided by `unit` when shown."""

    name: str
    help: str
    labels: tuple[str, ...]
    kind: Literal["counter", "gauge", "histogram"] = "counter"
    unit: int = 1
    bounds: tuple[int, ...] = ()
    """Upper bounds of the buckets in stored units; a bucket above the last is implied."""


class Name(StrEnum):
    """Names of the families."""

    REQUESTS = "pointsman_requests_total"
    GUARDS = "pointsman_guard_results_total"
    TOKENS = "pointsman_tokens_total"
    COST = "pointsman_cost_usd_total"
    BASELINE = "pointsman_baseline_cost_usd_total"
    DECISION = "pointsman_decision_seconds"
    TTFT = "pointsman_time_to_first_token_seconds"
    DURATION = "pointsman_request_duration_seconds"
    REQUEST_COST = "pointsman_request_cost_usd"
    OUTPUT = "pointsman_answer_output_tokens"
    CAPTURES = "pointsman_captures_total"
    ENTRIES = "pointsman_access_log_entries_total"
    LOST = "pointsman_access_log_lost_total"


FAMILIES: Final = {
    family.name: family
    for family in (
        Family(
            Name.REQUESTS,
            "Finished requests, by the tier that answered (where none did: the chosen one) and by reason.",
            (*_SCOPE, "tier", "reason"),
        ),
        Family(
            Name.GUARDS,
            "Guard rubrics; every request counts. A failover is a failed `answered` of the chosen tier too.",
            (*_SCOPE, "tier", "rubric", "outcome"),
        ),
        Family(Name.TOKENS, "Tokens as the tiers reported them.", (*_SCOPE, "tier", "direction")),
        Family(
            Name.COST,
            "Cost in US dollars, of requests whose tier has a price and reported its tokens.",
            (*_SCOPE, "tier"),
            unit=_DOLLARS,
        ),
        Family(
            Name.BASELINE,
            "Estimate: the same tokens at the last tier's price, for the requests that have a cost.",
            (*_SCOPE, "tier"),
            unit=_DOLLARS,
        ),
        Family(
            Name.DECISION,
            "From the end of the request's body to the decision.",
            (*_SCOPE,),
            "histogram",
            _SECONDS,
            (
                250,
                500,
                1000,
                2000,
                3000,
                5000,
                7500,
                10_000,
                15_000,
                20_000,
                30_000,
                50_000,
                100_000,
                500_000,
            ),
        ),
        Family(
            Name.TTFT,
            "From the request's arrival to the first byte of the answer (its headers) as Envoy sent it on.",
            (*_SCOPE, "tier"),
            "histogram",
            _SECONDS,
            tuple(
                int(s * _SECONDS)
                for s in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48)
            ),
        ),
        Family(
            Name.DURATION,
            "From the request's arrival to the answer's end.",
            (*_SCOPE, "tier"),
            "histogram",
            _SECONDS,
            tuple(
                int(s * _SECONDS) for s in (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
            ),
        ),
        Family(
            Name.REQUEST_COST,
            "Cost of a request in US dollars.",
            (*_SCOPE, "tier"),
            "histogram",
            _DOLLARS,
            tuple(base * 10**power for power in range(3, 9) for base in (1, 3)),
        ),
        Family(
            Name.OUTPUT,
            "Tokens of an answer, as the tier reported them.",
            (*_SCOPE, "tier"),
            "histogram",
            1,
            (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 65_536),
        ),
        Family(
            Name.CAPTURES,
            "Texts that Envoy sent, by half (request, response) and by what became of them.",
            ("namespace", "policy", "half", "outcome"),
        ),
        Family(Name.ENTRIES, "Finished requests that reached the store, with or without a policy.", ()),
        Family(
            Name.LOST,
            "Requests that Envoys counted and that never reached the store; lags while traffic flows.",
            (),
        ),
    )
}


class Count(NamedTuple):
    """An amount to add to a series."""

    series: Series
    amount: int


def scope_of(policy: str, revision: str) -> tuple[str, str, str]:
    """Return the labels namespace, policy and revision."""
    namespace, _, name = policy.rpartition("/")
    return namespace, name, revision


def contributions(record: AccessRecord, measures: Measures) -> Iterator[Count]:
    """Yield what a request adds, once it is stored."""
    yield Count(Series(Name.ENTRIES, ()), 1)
    scope = scope_of(record.policy, record.revision)
    tiered = (*scope, record.label_tier)
    yield Count(Series(Name.REQUESTS, (*tiered, record.reason)), 1)
    if not record.policy:
        return
    for result in outcomes(record):
        labels = (*scope, result.tier, result.rubric.value, "pass" if result.passed else "fail")
        yield Count(Series(Name.GUARDS, labels), 1)
    for direction, tokens in (("input", record.prompt_tokens), ("output", record.completion_tokens)):
        if tokens is not None:
            yield Count(Series(Name.TOKENS, (*tiered, direction)), tokens)
    if measures.cost_nano is not None:
        yield Count(Series(Name.COST, tiered), measures.cost_nano)
    if measures.baseline_nano is not None:
        yield Count(Series(Name.BASELINE, tiered), measures.baseline_nano)
    yield from _observed(Name.DECISION, scope, measures.decision_us)
    yield from _observed(Name.TTFT, tiered, measures.ttft_us)
    yield from _observed(Name.DURATION, tiered, measures.duration_us)
    yield from _observed(Name.REQUEST_COST, tiered, measures.cost_nano)
    yield from _observed(Name.OUTPUT, tiered, measures.output_tokens)


def capture_series(policy: str, half: str, outcome: str) -> Series:
    """Return the counter of a text's fate."""
    namespace, _, name = policy.rpartition("/")
    return Series(Name.CAPTURES, (namespace, name, half, outcome))


def _observed(name: Name, labels: tuple[str, ...], value: int | None) -> Iterator[Count]:
    if value is None:
        return
    yield Count(Series(name, labels, str(bisect_left(FAMILIES[name].bounds, value))), 1)
    yield Count(Series(name, labels, "sum"), value)
