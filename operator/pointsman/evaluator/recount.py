"""Counts the rows anew, to hold the counters against them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.cases import PairRow
from pointsman.evaluator.evidence import (
    CANARY,
    GUARD,
    Evidence,
    Result,
    gate_moments,
    moments,
    pair_series,
    rollout_scope,
    word,
)
from pointsman.evaluator.guards import Rubric
from pointsman.evaluator.totals import Name, Series, scope_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pointsman.evaluator.store.database import Database

_ENTRIES: Final = Series(Name.ENTRIES, ())
_SERVED: Final = "CASE WHEN served_tier <> '' THEN served_tier ELSE tier END"
_COUNTED: Final = (
    "NOT pending AND rollout <> '' AND NOT EXISTS (SELECT 1 FROM rollouts r"
    " WHERE r.policy = requests.policy AND r.rollout = requests.rollout AND r.dropped)"
)
_KEPT: Final = (
    "NOT EXISTS (SELECT 1 FROM rollouts r"
    " WHERE r.policy = {0}.policy AND r.rollout = {0}.rollout AND r.dropped)"
)


def recount(db: Database) -> Counter[Series]:
    """Return what the rows say of each family that they can say something of."""
    counts: Counter[Series] = Counter()
    for part in (_requests, _arms, _halves, _moments, _pairs, _cases):
        for series, amount in part(db):
            counts[series] += amount
    return counts


def uncounted(totals: Counter[Series], rows: Counter[Series]) -> list[str]:
    """Return the series of which more rows are stored than were counted.

    Rows are deleted in time and totals stay: fewer rows are no damage. Left out are gauges, which go both
    ways, and families that are dropped with a policy whose rows stay for a while.
    """
    told = (Name.ENTRIES, *(set(Evidence) - {Evidence.GATE_CASES, Evidence.GATE_MOMENTS}))
    return [
        f"{' '.join((series.family, *series.labels))}: {number} are stored, {totals[series]} were counted"
        for series, number in sorted(rows.items())
        if number > totals[series] and series.family in told
    ]


def _requests(db: Database) -> Iterator[tuple[Series, int]]:
    rows = db.execute(
        f"SELECT policy, revision, {_SERVED}, reason, count(*), sum(prompt_tokens), sum(completion_tokens),"  # noqa: S608 - constants of ours
        " sum(cost_nano), sum(baseline_nano) FROM requests GROUP BY 1, 2, 3, 4"
    )
    for policy, revision, tier, reason, number, prompt, completion, cost, baseline in rows:
        tiered = (*scope_of(policy, revision), tier)
        yield _ENTRIES, number
        yield Series(Name.REQUESTS, (*tiered, reason)), number
        if policy:
            yield Series(Name.TOKENS, (*tiered, "input")), prompt or 0
            yield Series(Name.TOKENS, (*tiered, "output")), completion or 0
            yield Series(Name.COST, tiered), cost or 0
            yield Series(Name.BASELINE, tiered), baseline or 0


def guards(tier: str, served: str, failed: str) -> Iterator[tuple[str, str, bool]]:
    """Yield (rubric, tier, passed) of a row, as `guards.arm_outcomes` does of its record."""
    failures = failed.split(",")
    for rubric in Rubric:
        if rubric is Rubric.ANSWERED and tier and served and tier != served:
            yield rubric.value, tier, False
        else:
            yield rubric.value, served or tier, rubric.value not in failures


def _arms(db: Database) -> Iterator[tuple[Series, int]]:
    """Families RESULTS and UNSCORED."""
    rows = db.execute(
        "SELECT policy, rollout, arm, step, tier, served_tier, label, failed, count(*) FROM requests"  # noqa: S608 - constants of ours
        f" WHERE {_COUNTED} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
    )
    for policy, rollout, arm, step, tier, served, label, failed, number in rows:
        placed = (*rollout_scope(policy, rollout), arm, CANARY, str(step))
        for rubric, on, passed in guards(tier, served, failed):
            yield Series(Evidence.RESULTS, (*placed, on, label, rubric, GUARD, word(passed))), number
    rows = db.execute(
        f"SELECT policy, rollout, arm, step, {_SERVED}, label, rubric, version, passed, because, count(*)"  # noqa: S608 - constants of ours
        f" FROM requests JOIN results ON request = id WHERE {_COUNTED}"
        " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    )
    for policy, rollout, arm, step, on, label, rubric, version, passed, because, number in rows:
        scope = rollout_scope(policy, rollout)
        if passed is None:
            yield Series(Evidence.UNSCORED, (*scope, arm, str(step), rubric, version, because)), number
        else:
            labels = (*scope, arm, CANARY, str(step), on, label, rubric, version, word(passed))
            yield Series(Evidence.RESULTS, labels), number


def _halves(db: Database) -> Iterator[tuple[Series, int]]:
    rows = db.execute(
        "SELECT policy, revision, tier, served_tier, label, half, failed, count(*) FROM requests"
        " WHERE half <> '' GROUP BY 1, 2, 3, 4, 5, 6, 7"
    )
    for policy, revision, tier, served, label, half, failed, number in rows:
        for rubric, _, passed in guards(tier, served, failed):
            labels = (*scope_of(policy, revision), rubric, GUARD, label, half, word(passed))
            yield Series(Evidence.HALVES, labels), number
    rows = db.execute(
        "SELECT policy, revision, label, half, rubric, version, passed, count(*)"
        " FROM requests JOIN results ON request = id WHERE half <> '' AND passed IS NOT NULL"
        " GROUP BY 1, 2, 3, 4, 5, 6, 7"
    )
    for policy, revision, label, half, rubric, version, passed, number in rows:
        labels = (*scope_of(policy, revision), rubric, version, label, half, word(passed))
        yield Series(Evidence.HALVES, labels), number


def _moments(db: Database) -> Iterator[tuple[Series, int]]:
    """Session by session: a request without one is a session of its own."""
    grown: dict[tuple[str, str, str, str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))

    def add(policy: str, revision: str, session: str, result: Result) -> Iterator[tuple[Series, int]]:
        if not session:
            yield from moments(policy, revision, result, (0, 0))
            return
        key = policy, revision, session, result.rubric, result.version
        x, n = grown[key]
        yield from moments(policy, revision, result, (x, n))
        grown[key] = x + bool(result.passed), n + 1

    rows = db.execute(
        "SELECT policy, revision, session, tier, served_tier, failed FROM requests WHERE half <> ''"
    )
    for policy, revision, session, tier, served, failed in rows:
        for rubric, _, passed in guards(tier, served, failed):
            yield from add(policy, revision, session, Result(rubric, GUARD, passed))
    rows = db.execute(
        "SELECT policy, revision, session, rubric, version, passed FROM requests JOIN results ON request = id"
        " WHERE half <> '' AND passed IS NOT NULL"
    )
    for policy, revision, session, rubric, version, passed in rows:
        yield from add(policy, revision, session, Result(rubric, version, bool(passed)))


def _pairs(db: Database) -> Iterator[tuple[Series, int]]:
    clusters: dict[tuple[str, ...], tuple[int, int]] = defaultdict(lambda: (0, 0))
    rows = db.execute(
        "SELECT policy, rollout, stage, case_id, cluster, intent, rubric, version, incumbent, candidate"  # noqa: S608 - constants of ours
        f" FROM pairs WHERE {_KEPT.format('pairs')}"
    )
    for row in rows:
        pair = PairRow(*row)
        yield pair_series(pair), 1
        if pair.stage == "gate":
            key = pair.policy, pair.rollout, pair.rubric, pair.version, pair.group or f"case/{pair.case_id}"
            before = clusters[key]
            yield from gate_moments(pair, before)
            clusters[key] = before[0] + pair.incumbent - pair.candidate, before[1] + 1


def _cases(db: Database) -> Iterable[tuple[Series, int]]:
    rows = db.execute(
        "SELECT policy, rollout, outcome, count(*), sum(cost_nano) FROM shadow_requests"  # noqa: S608 - constants of ours
        f" WHERE {_KEPT.format('shadow_requests')} GROUP BY 1, 2, 3"
    )
    for policy, rollout, outcome, number, cost in rows:
        scope = rollout_scope(policy, rollout)
        yield Series(Evidence.SHADOW_REQUESTS, (*scope, outcome)), number
        yield Series(Evidence.SHADOW_COST, scope), cost
    for policy, rollout, total in db.execute("SELECT policy, rollout, total FROM gates"):
        yield Series(Evidence.GATE_CASES, (*rollout_scope(policy, rollout), "total")), total
    rows = db.execute("SELECT policy, rollout, state, count(*) FROM gate_cases GROUP BY 1, 2, 3")
    for policy, rollout, state, number in rows:
        yield Series(Evidence.GATE_CASES, (*rollout_scope(policy, rollout), state)), number
