"""What the store says about a policy's rollouts: each arm's results by rubric and intent, and what lacks."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from pointsman.evaluator.evidence import GUARD, NOT_APPLICABLE
from pointsman.evaluator.recount import guards

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.evaluator.store.database import Database

MOST: Final = 3
"""Rollouts that are told of, the newest first."""
_SCORED: Final = (
    "policy = :policy AND start_us >= :since AND start_us < :until AND rollout = :rollout AND NOT pending"
)


def rollouts(db: Database, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
    """Return the newest rollouts that served requests in the window; `query`: policy, since, until."""
    found = db.execute(
        "SELECT rollout, count(*), sum(CASE WHEN pending THEN 1 ELSE 0 END) FROM requests"
        " WHERE policy = :policy AND start_us >= :since AND start_us < :until AND rollout <> ''"
        " GROUP BY 1 ORDER BY max(start_us) DESC LIMIT :most",
        {**query, "most": MOST},
    ).fetchall()
    return [
        {
            "rollout": rollout,
            "requests": requests,
            "pending": waiting,
            **_scores(db, {**query, "rollout": rollout}),
        }
        for rollout, requests, waiting in found
    ]


def _scores(db: Database, query: Mapping[str, str | int]) -> dict[str, Any]:
    counts: Counter[tuple[str, str, str, str, bool]] = Counter()
    lacking: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    rows = db.execute(
        "SELECT arm, tier, served_tier, label, failed, count(*) FROM requests"  # noqa: S608 - a constant of ours
        f" WHERE {_SCORED} GROUP BY 1, 2, 3, 4, 5",
        query,
    )
    for arm, tier, served, intent, failed, number in rows:
        for rubric, _, passed in guards(tier, served, failed):
            counts[rubric, GUARD, arm, intent, passed] += number
    rows = db.execute(
        "SELECT rubric, version, arm, label, passed, because, count(*)"  # noqa: S608 - a constant of ours
        f" FROM requests JOIN results ON request = id WHERE {_SCORED} GROUP BY 1, 2, 3, 4, 5, 6",
        query,
    )
    for rubric, version, arm, intent, passed, because, number in rows:
        if passed is None:
            lacking[rubric, version, arm][because] += number
        else:
            counts[rubric, version, arm, intent, bool(passed)] += number
    return {"rubrics": _rubrics(counts), "coverage": _coverage(counts, lacking)}


def _rubrics(counts: Counter[tuple[str, str, str, str, bool]]) -> list[dict[str, Any]]:
    keys = sorted({key[:4] for key in counts})
    return [
        {
            "rubric": rubric,
            "version": version,
            "arm": arm,
            "intent": intent,
            "pass": counts[rubric, version, arm, intent, True],
            "fail": counts[rubric, version, arm, intent, False],
        }
        for rubric, version, arm, intent in keys
    ]


def _coverage(
    counts: Counter[tuple[str, str, str, str, bool]], lacking: Mapping[tuple[str, str, str], Counter[str]]
) -> list[dict[str, Any]]:
    """Of the policy's own rubrics; guards always cover everything."""
    scored: Counter[tuple[str, str, str]] = Counter()
    for (rubric, version, arm, _, _), number in counts.items():
        if version != GUARD:
            scored[rubric, version, arm] += number
    covered = []
    for key in sorted({*scored, *lacking}):
        unscored = dict(sorted(lacking.get(key, Counter()).items()))
        applicable = sum(unscored.values()) - unscored.get(NOT_APPLICABLE, 0)
        whole = scored[key] + applicable
        covered.append(
            {
                "rubric": key[0],
                "version": key[1],
                "arm": key[2],
                "scored": scored[key],
                "unscored": unscored,
                "coveragePermille": round(1000 * scored[key] / whole) if whole else None,
            }
        )
    return covered
