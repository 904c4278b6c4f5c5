"""How scores, pairs and gate cases are stored: each once, with what it adds to the counters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.evaluator.cases import GateCase, GateTotal, PairRow, ShadowNote
from pointsman.evaluator.evidence import (
    Evidence,
    contributions,
    gate_moments,
    moments,
    pair_series,
    rollout_scope,
)
from pointsman.evaluator.totals import Series

if TYPE_CHECKING:
    import sqlite3

    from pointsman.evaluator.cases import CaseItem
    from pointsman.evaluator.evidence import Result, ScoreRow
    from pointsman.evaluator.rows import Written


@dataclass(slots=True)
class Transaction:
    """What the inserts of one transaction share."""

    db: sqlite3.Connection
    dropped: frozenset[tuple[str, str]]
    """(policy, rollout) that are counted no more."""
    now_us: int
    written: Written

    def counts(self, policy: str, rollout: str) -> bool:
        """Tell whether a rollout is still counted."""
        return (policy, rollout) not in self.dropped


def insert_score(into: Transaction, score: ScoreRow) -> None:
    """Store a request's scores unless it has some."""
    db, record, written = into.db, score.record, into.written
    marked = db.execute(
        "UPDATE requests SET pending = 0, label = ?, half = ? WHERE id = ? AND pending RETURNING session",
        (score.intent, score.half, score.row),
    ).fetchone()
    if marked is None:
        written.duplicates += 1
        written.void.append(score.row)
        return
    db.executemany(
        "INSERT OR IGNORE INTO results (request, rubric, version, passed, because) VALUES (?,?,?,?,?)",
        [(score.row, r.rubric, r.version, r.passed, r.because) for r in score.results],
    )
    for series, amount in contributions(score, rollout=into.counts(record.policy, record.rollout)):
        written.counts[series] += amount
    if score.half:
        _grow_session(into, score, marked[0])
    written.scored.append(score)


def _grow_session(into: Transaction, score: ScoreRow, session: str) -> None:
    db, written = into.db, into.written
    policy, revision = score.record.policy, score.record.revision
    verdicts = score.verdicts
    counts: dict[str, list[int]] = {}
    if session:  # without one each request is a session of its own: nothing to remember
        found = db.execute(
            "SELECT counts FROM sessions WHERE policy = ? AND revision = ? AND session = ?",
            (policy, revision, session),
        ).fetchone()
        counts = json.loads(found[0]) if found else {}
    for result in verdicts:
        entry = counts.setdefault(_key(result), [0, 0])
        for series, amount in moments(policy, revision, result, (entry[0], entry[1])):
            written.counts[series] += amount
        entry[0] += bool(result.passed)
        entry[1] += 1
    if session:
        db.execute(
            "INSERT OR REPLACE INTO sessions (policy, revision, session, seen_us, counts) VALUES (?,?,?,?,?)",
            (policy, revision, session, into.now_us, json.dumps(counts, separators=(",", ":"))),
        )


def _key(result: Result) -> str:
    return f"{result.rubric}/{result.version}"


def insert_case(into: Transaction, item: CaseItem) -> None:
    """Store what shadow or gate found out, unless it is stored already."""
    match item:
        case PairRow():
            _insert_pair(into, item)
        case ShadowNote():
            _insert_note(into, item)
        case GateTotal():
            _set_total(into, item)
        case GateCase():
            _set_case(into, item)


def _insert_pair(into: Transaction, item: PairRow) -> None:
    db, written = into.db, into.written
    added = db.execute(
        "INSERT OR IGNORE INTO pairs (policy, rollout, stage, case_id, cluster, intent, rubric, version,"
        " incumbent, candidate, at_us) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            item.policy,
            item.rollout,
            item.stage,
            item.case_id,
            item.group,
            item.intent,
            item.rubric,
            item.version,
            item.incumbent,
            item.candidate,
            into.now_us,
        ),
    ).rowcount
    if not added:
        written.duplicates += 1
    elif into.counts(item.policy, item.rollout):
        written.counts[pair_series(item)] += 1
        if item.stage == "gate":
            _grow_cluster(into, item)


def _grow_cluster(into: Transaction, pair: PairRow) -> None:
    before = (0, 0)
    if pair.group:
        key = pair.policy, pair.rollout, pair.rubric, pair.version, pair.group
        d = int(pair.incumbent) - int(pair.candidate)
        sums = into.db.execute(
            "INSERT INTO gate_clusters (policy, rollout, rubric, version, cluster, d, n)"
            " VALUES (?1,?2,?3,?4,?5,?6,1) ON CONFLICT DO UPDATE SET d = d + ?6, n = n + 1 RETURNING d, n",
            (*key, d),
        ).fetchone()
        before = sums[0] - d, sums[1] - 1
    for series, amount in gate_moments(pair, before):
        into.written.counts[series] += amount


def _insert_note(into: Transaction, item: ShadowNote) -> None:
    db, written = into.db, into.written
    if item.case_id:
        added = db.execute(
            "INSERT OR IGNORE INTO shadow_requests (policy, rollout, case_id, outcome, cost_nano, at_us)"
            " VALUES (?,?,?,?,?,?)",
            (item.policy, item.rollout, item.case_id, item.outcome, item.cost_nano, into.now_us),
        ).rowcount
        if not added:
            written.duplicates += 1
            return
    if into.counts(item.policy, item.rollout):
        scope = rollout_scope(item.policy, item.rollout)
        written.counts[Series(Evidence.SHADOW_REQUESTS, (*scope, item.outcome))] += 1
        written.counts[Series(Evidence.SHADOW_COST, scope)] += item.cost_nano


def _set_total(into: Transaction, item: GateTotal) -> None:
    db, written = into.db, into.written
    found = db.execute(
        "SELECT total FROM gates WHERE policy = ? AND rollout = ?", (item.policy, item.rollout)
    ).fetchone()
    db.execute("INSERT OR REPLACE INTO gates VALUES (?,?,?)", (item.policy, item.rollout, item.total))
    if into.counts(item.policy, item.rollout):
        written.counts[_cases(item, "total")] += item.total - (found[0] if found else 0)


def _set_case(into: Transaction, item: GateCase) -> None:
    db, written = into.db, into.written
    found = db.execute(
        "SELECT state FROM gate_cases WHERE policy = ? AND rollout = ? AND case_id = ?",
        (item.policy, item.rollout, item.case_id),
    ).fetchone()
    if found and found[0] == item.state:
        written.duplicates += 1
        return
    db.execute(
        "INSERT OR REPLACE INTO gate_cases VALUES (?,?,?,?)",
        (item.policy, item.rollout, item.case_id, item.state),
    )
    if into.counts(item.policy, item.rollout):
        written.counts[_cases(item, item.state)] += 1
        if found:
            written.counts[_cases(item, found[0])] -= 1


def _cases(item: GateTotal | GateCase, state: str) -> Series:
    return Series(Evidence.GATE_CASES, (*rollout_scope(item.policy, item.rollout), state))
