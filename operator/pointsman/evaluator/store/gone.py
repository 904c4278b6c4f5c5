"""Drops counters of what is gone: policies, revisions, rollouts. Within a transaction of the caller's."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.evidence import ALL_FAMILIES
from pointsman.evaluator.store.series import labels_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pointsman.evaluator.store.database import Database
    from pointsman.evaluator.totals import Series

_END_OF_GATE: Final = (
    "DELETE FROM gates WHERE policy = ? AND rollout = ?",
    "DELETE FROM gate_cases WHERE policy = ? AND rollout = ?",
    "DELETE FROM gate_clusters WHERE policy = ? AND rollout = ?",
)


def drop_series(
    db: Database,
    totals: Iterable[Series],
    alive: Mapping[str, frozenset[str]],
    now_us: int,
    keep_us: int,
) -> list[Series]:
    """Drop those of `totals` whose policy or revision has been gone for `keep_us`; return them.

    `alive`: policy → its revisions.
    """
    scopes: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for series in totals:
        labels = _labels(series)
        if labels.get("policy") and "rollout" not in labels:
            scopes[f"{labels['namespace']}/{labels['policy']}", labels.get("revision", "")].append(series)
    dropped: list[Series] = []
    rows = db.execute("SELECT policy, revision, since_us FROM gone").fetchall()
    since = {(policy, revision): at for policy, revision, at in rows}
    back = "DELETE FROM gone WHERE policy = ? AND revision = ?"
    for (policy, revision), members in scopes.items():
        if policy in alive and (not revision or revision in alive[policy]):
            if (policy, revision) in since:
                db.execute(back, (policy, revision))
        elif since.get((policy, revision), now_us) + keep_us <= now_us:
            dropped += members
            _uncount(db, policy, revision)
            db.execute(back, (policy, revision))
        else:
            db.execute(
                "INSERT INTO gone (policy, revision, since_us) VALUES (?,?,?) ON CONFLICT DO NOTHING",
                (policy, revision, now_us),
            )
    _delete_totals(db, dropped)
    return dropped


def drop_rollouts(  # noqa: PLR0917 - one caller, which passes its own on
    db: Database,
    totals: Iterable[Series],
    live: frozenset[tuple[str, str]],
    ended_us: Mapping[tuple[str, str], int],
    now_us: int,
    keep_us: int,
) -> list[Series]:
    """Drop those of `totals` whose rollout has been over for `keep_us`, for good; return them."""
    members: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for series in totals:
        labels = _labels(series)
        if "rollout" in labels:
            members[f"{labels['namespace']}/{labels['policy']}", labels["rollout"]].append(series)
    dropped: list[Series] = []
    for rollout, series_of_it in members.items():
        if rollout in live:
            db.execute("DELETE FROM rollouts WHERE policy = ? AND rollout = ?", rollout)
            continue
        over_us = ended_us.get(rollout, now_us)
        db.execute(
            "INSERT INTO rollouts (policy, rollout, over_us) VALUES (?,?,?) ON CONFLICT DO NOTHING",
            (*rollout, over_us),
        )
        found = db.execute(
            "SELECT over_us FROM rollouts WHERE policy = ? AND rollout = ?", rollout
        ).fetchone()
        if found is not None and found[0] + keep_us <= now_us:
            dropped += series_of_it
            db.execute("UPDATE rollouts SET dropped = TRUE WHERE policy = ? AND rollout = ?", rollout)
            for statement in _END_OF_GATE:
                db.execute(statement, rollout)
    _delete_totals(db, dropped)
    return dropped


def _labels(series: Series) -> dict[str, str]:
    return dict(zip(ALL_FAMILIES[series.family].labels, series.labels, strict=True))


def _uncount(db: Database, policy: str, revision: str) -> None:
    """Let rows no longer say that they are counted in series that are dropped."""
    db.execute(
        "UPDATE requests SET half = '' WHERE policy = ? AND revision = ? AND half <> ''", (policy, revision)
    )
    db.execute("DELETE FROM sessions WHERE policy = ? AND revision = ?", (policy, revision))


def _delete_totals(db: Database, dropped: Iterable[Series]) -> None:
    """Delete series of all replicas; each of them sees it at its next sweep."""
    db.many(
        "DELETE FROM totals WHERE family = ? AND labels = ? AND part = ?",
        [(s.family, labels_of(s.labels), s.part) for s in dropped],
    )
