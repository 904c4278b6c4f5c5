"""The families that rollouts are decided on, and what scores, pairs and cases add to them. Pure.

Counts of what the store holds, in the transaction that stores it: so they are exact after a crash too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.guards import arm_outcomes
from pointsman.evaluator.totals import FAMILIES, Count, Family, Series, scope_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.evaluator.cases import PairRow
    from pointsman.evaluator.record import AccessRecord

GUARD: Final = "guard"
"""`version` of the guard rubrics."""
CANARY: Final = "canary"
NOT_APPLICABLE: Final = "not_applicable"
NOT_STORED: Final = "not_stored"

_POLICY: Final = ("namespace", "policy")
_ROLLOUT: Final = (*_POLICY, "rollout")
_RUBRIC: Final = ("rubric", "version")


class Evidence(StrEnum):
    """Names of the families."""

    RESULTS = "pointsman_rubric_results_total"
    PAIRS = "pointsman_rubric_pairs_total"
    HALVES = "pointsman_rubric_halves_total"
    MOMENTS = "pointsman_rubric_session_moments_total"
    UNSCORED = "pointsman_rubric_unscored_total"
    SHADOW_REQUESTS = "pointsman_shadow_requests_total"
    SHADOW_COST = "pointsman_shadow_cost_usd_total"
    GATE_CASES = "pointsman_gate_cases"
    GATE_MOMENTS = "pointsman_gate_moments"
    ENDED = "pointsman_rollout_ended_timestamp_seconds"


EVIDENCE: Final = {
    family.name: family
    for family in (
        Family(
            Evidence.RESULTS,
            "Scored requests of a rollout by arm, and by step and tier of serving. Intent: of the reference "
            'classifier, "" where unknown.',
            (*_ROLLOUT, "arm", "stage", "step", "tier", "intent", *_RUBRIC, "outcome"),
        ),
        Family(
            Evidence.PAIRS,
            "Cases that both sides answered: who passed. Requests on which both decide alike are among them.",
            (*_ROLLOUT, "stage", "intent", *_RUBRIC, "outcome"),
        ),
        Family(
            Evidence.HALVES,
            "Scored requests of the revision in force, split by a salted hash of the session.",
            (*_POLICY, "revision", *_RUBRIC, "intent", "half", "outcome"),
        ),
        Family(
            Evidence.MOMENTS,
            "Sums over the sessions of the revision in force: xx, xn, nn of x passes in n scored requests.",
            (*_POLICY, "revision", *_RUBRIC, "moment"),
        ),
        Family(
            Evidence.UNSCORED,
            "Requests of a rollout that a rubric could not score.",
            (*_ROLLOUT, "arm", "step", *_RUBRIC, "because"),
        ),
        Family(
            Evidence.SHADOW_REQUESTS,
            "Requests that the candidate was to be asked about, by what became of them.",
            (*_ROLLOUT, "outcome"),
        ),
        Family(
            Evidence.SHADOW_COST,
            "Cost of shadow replays in US dollars, as far as tiers have a price and reported tokens.",
            _ROLLOUT,
            unit=1_000_000_000,
        ),
        Family(Evidence.GATE_CASES, "Cases of a gate run.", (*_ROLLOUT, "state"), "gauge"),
        Family(
            Evidence.GATE_MOMENTS,
            "Sums over a gate's cases, d = incumbent - candidate: n, d, dd, and DD, Dn, nn over clusters.",
            (*_ROLLOUT, *_RUBRIC, "moment"),
            "gauge",
        ),
        Family(
            Evidence.ENDED,
            "When the last attempt of a revision ended, as the policy's status said then; kept though that "
            "status may be lost. uid: the policy's; ended: the rollout's id, empty where none was under way.",
            (*_POLICY, "uid", "revision", "ended", "attempt", "outcome"),
            "gauge",
            unit=1_000_000,
        ),
    )
}

ALL_FAMILIES: Final = FAMILIES | EVIDENCE


@dataclass(frozen=True, slots=True)
class Result:
    """What one rubric of the policy says of one answer. `passed` None: nothing, and `because` says why."""

    rubric: str
    version: str
    passed: bool | None
    because: str = ""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A request's scores: what marks it as no longer pending."""

    row: int
    """`requests.id`."""
    record: AccessRecord
    intent: str
    half: str
    """`a` or `b`: it counts for the noise of its revision, in that half; "": it does not."""
    results: tuple[Result, ...]

    @property
    def verdicts(self) -> tuple[Result, ...]:
        """Guards, and every rubric that said pass or fail."""
        return (*guard_results(self.record), *(r for r in self.results if r.passed is not None))


def guard_results(record: AccessRecord) -> tuple[Result, ...]:
    """Return the guard rubrics' results."""
    return tuple(Result(o.rubric.value, GUARD, o.passed) for o in arm_outcomes(record))


def half_of(uid: str, revision: str, session: str, request_id: str) -> str:
    """Return the half of a session, or of a request without one; the salt is the policy's and revision's."""
    unit = session or f"request/{request_id}"
    return "ab"[hashlib.sha256(f"{uid}/{revision}/{unit}".encode()).digest()[0] & 1]


def contributions(score: ScoreRow, *, rollout: bool) -> Iterator[Count]:
    """Yield what a score adds; `rollout`: whether its rollout is still counted. Moments are not here."""
    if rollout and score.record.rollout:
        yield from _of_arm(score)
    if score.half:
        yield from _of_half(score)


def unscored(record: AccessRecord) -> Iterator[Series]:
    """Yield what a request counts for that was received and could not be stored: nobody will score it."""
    if record.rollout:
        scope = (*rollout_scope(record.policy, record.rollout), record.arm, str(record.step))
        for rubric in dict.fromkeys(outcome.rubric.value for outcome in arm_outcomes(record)):
            yield Series(Evidence.UNSCORED, (*scope, rubric, GUARD, NOT_STORED))


def _of_arm(score: ScoreRow) -> Iterator[Count]:
    record = score.record
    scope = rollout_scope(record.policy, record.rollout)
    step = str(record.step)
    placed = (*scope, record.arm, CANARY, step)
    for guard in arm_outcomes(record):
        named = (guard.tier, score.intent, guard.rubric.value, GUARD, word(guard.passed))
        yield Count(Series(Evidence.RESULTS, (*placed, *named)), 1)
    for result in score.results:
        if result.passed is None:
            why = (record.arm, step, result.rubric, result.version, result.because)
            yield Count(Series(Evidence.UNSCORED, (*scope, *why)), 1)
        else:
            named = (record.label_tier, score.intent, result.rubric, result.version, word(result.passed))
            yield Count(Series(Evidence.RESULTS, (*placed, *named)), 1)


def _of_half(score: ScoreRow) -> Iterator[Count]:
    scope = scope_of(score.record.policy, score.record.revision)
    for result in score.verdicts:
        named = (result.rubric, result.version, score.intent, score.half, word(result.passed))
        yield Count(Series(Evidence.HALVES, (*scope, *named)), 1)


def word(passed: object) -> str:
    """Return the label `outcome`."""
    return "pass" if passed else "fail"


def moments(policy: str, revision: str, result: Result, before: tuple[int, int]) -> Iterator[Count]:
    """Yield what one more result of a session adds; `before`: its passes and scored requests so far."""
    scope = scope_of(policy, revision)
    x, n = before
    one = int(bool(result.passed))
    grown = {"xx": 2 * x * one + one, "xn": x + n * one + one, "nn": 2 * n + 1}
    for moment, amount in grown.items():
        if amount:
            yield Count(Series(Evidence.MOMENTS, (*scope, result.rubric, result.version, moment)), amount)


def pair_series(pair: PairRow) -> Series:
    """Return the counter of a pair."""
    both = {
        (True, True): "both",
        (True, False): "only_incumbent",
        (False, True): "only_candidate",
        (False, False): "neither",
    }
    outcome = both[pair.incumbent, pair.candidate]
    scope = rollout_scope(pair.policy, pair.rollout)
    return Series(Evidence.PAIRS, (*scope, pair.stage, pair.intent, pair.rubric, pair.version, outcome))


def gate_moments(pair: PairRow, before: tuple[int, int]) -> Iterator[Count]:
    """Yield what a gate's pair adds; `before`: sum of d and number of cases of its cluster so far."""
    total, n = before
    d = int(pair.incumbent) - int(pair.candidate)
    grown = {
        "n": 1,
        "d": d,
        "dd": d * d,
        "clusters": int(n == 0),
        "DD": 2 * total * d + d * d,
        "Dn": total + n * d + d,
        "nn": 2 * n + 1,
    }
    scope = rollout_scope(pair.policy, pair.rollout)
    for moment, amount in grown.items():
        yield Count(Series(Evidence.GATE_MOMENTS, (*scope, pair.rubric, pair.version, moment)), amount)


def rollout_scope(policy: str, rollout: str) -> tuple[str, str, str]:
    """Return the labels namespace, policy and rollout."""
    namespace, _, name = policy.rpartition("/")
    return namespace, name, rollout
