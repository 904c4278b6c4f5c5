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
    from collections.abc import Sequence

    from pointsman.evaluator.cases import CaseItem
    from pointsman.evaluator.evidence import Result, ScoreRow
    from pointsman.evaluator.rows import Written
    from pointsman.evaluator.store.database import Database


@dataclass(slots=True)
class Transaction:
    """What the inserts of one transaction share."""

    db: Database
    dropped: frozenset[tuple[str, str]]
    """(policy, rollout) that are counted no more."""
    now_us: int
    written: Written
    replica: str
    """Who writes."""

    def counts(self, policy: str, rollout: str) -> bool:
        """Tell whether a rollout is still counted."""
        return (policy, rollout) not in self.dropped


def insert_scores(into: Transaction, scores: Sequence[ScoreRow]) -> None:
    """Store the scores of requests that have none yet."""
    db, written = into.db, into.written
    marked = db.each(
        "UPDATE requests SET pending = FALSE, label = ?, half = ? WHERE id = ? AND pending RETURNING session",
        [(score.intent, score.half, score.row) for score in scores],
    )
    fresh: list[tuple[ScoreRow, str]] = []
    for score, found in zip(scores, marked, strict=True):
        if found:
            fresh.append((score, found[0][0]))
        else:
            written.duplicates += 1
            written.void.append(score.row)
    db.many(
        "INSERT INTO results (request, rubric, version, passed, because) VALUES (?,?,?,?,?)"
        " ON CONFLICT DO NOTHING",
        [(s.row, r.rubric, r.version, r.passed, r.because) for s, _ in fresh for r in s.results],
    )
    for score, _ in fresh:
        record = score.record
        for series, amount in contributions(score, rollout=into.counts(record.policy, record.rollout)):
            written.counts[series] += amount
    _grow_sessions(into, [(score, session) for score, session in fresh if score.half])
    written.scored += [score for score, _ in fresh]


def _grow_sessions(into: Transaction, scores: Sequence[tuple[ScoreRow, str]]) -> None:
    """Add to the sessions' counts; a request without a session is one of its own: nothing to remember."""
    keys = list(
        dict.fromkeys((s.record.policy, s.record.revision, session) for s, session in scores if session)
    )
    known: dict[tuple[str, str, str], dict[str, list[int]]] = {
        key: json.loads(found[0][0]) if found else {}
        for key, found in zip(
            keys,
            into.db.each(
                "SELECT counts FROM sessions WHERE policy = ? AND revision = ? AND session = ?", keys
            ),
            strict=True,
        )
    }
    for score, session in scores:
        policy, revision = score.record.policy, score.record.revision
        counts = known[policy, revision, session] if session else {}
        for result in score.verdicts:
            entry = counts.setdefault(_key(result), [0, 0])
            for series, amount in moments(policy, revision, result, (entry[0], entry[1])):
                into.written.counts[series] += amount
            entry[0] += bool(result.passed)
            entry[1] += 1
    into.db.many(
        "INSERT INTO sessions (policy, revision, session, seen_us, counts) VALUES (?,?,?,?,?)"
        " ON CONFLICT (policy, revision, session) DO UPDATE SET seen_us = excluded.seen_us,"
        " counts = excluded.counts",
        [(*key, into.now_us, json.dumps(counts, separators=(",", ":"))) for key, counts in known.items()],
    )


def _key(result: Result) -> str:
    return f"{result.rubric}/{result.version}"


def insert_cases(into: Transaction, items: Sequence[CaseItem]) -> None:
    """Store what shadow or gate found out and is not stored already."""
    _insert_pairs(into, [item for item in items if isinstance(item, PairRow)])
    for item in items:
        match item:
            case ShadowNote():
                _insert_note(into, item)
            case GateTotal():
                _set_total(into, item)
            case GateCase():
                _set_case(into, item)


def _insert_pairs(into: Transaction, pairs: Sequence[PairRow]) -> None:
    added = into.db.each(
        "INSERT INTO pairs (policy, rollout, stage, case_id, cluster, intent, rubric, version,"
        " incumbent, candidate, at_us) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING RETURNING 1",
        [
            (
                pair.policy,
                pair.rollout,
                pair.stage,
                pair.case_id,
                pair.group,
                pair.intent,
                pair.rubric,
                pair.version,
                pair.incumbent,
                pair.candidate,
                into.now_us,
            )
            for pair in pairs
        ],
    )
    for pair, fresh in zip(pairs, added, strict=True):
        if not fresh:
            into.written.duplicates += 1
        elif into.counts(pair.policy, pair.rollout):
            into.written.counts[pair_series(pair)] += 1
            if pair.stage == "gate":
                _grow_cluster(into, pair)


def _grow_cluster(into: Transaction, pair: PairRow) -> None:
    before = (0, 0)
    if pair.group:
        key = pair.policy, pair.rollout, pair.rubric, pair.version, pair.group
        d = int(pair.incumbent) - int(pair.candidate)
        ((sums,),) = into.db.each(
            "INSERT INTO gate_clusters AS known (policy, rollout, rubric, version, cluster, d, n)"
            " VALUES (?,?,?,?,?,?,1) ON CONFLICT (policy, rollout, rubric, version, cluster)"
            " DO UPDATE SET d = known.d + excluded.d, n = known.n + 1 RETURNING d, n",
            [(*key, d)],
        )
        before = sums[0] - d, sums[1] - 1
    for series, amount in gate_moments(pair, before):
        into.written.counts[series] += amount


def _insert_note(into: Transaction, item: ShadowNote) -> None:
    db, written = into.db, into.written
    if item.case_id:
        added = db.execute(
            "INSERT INTO shadow_requests (policy, rollout, case_id, outcome, cost_nano, at_us, replica)"
            " VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            (
                item.policy,
                item.rollout,
                item.case_id,
                item.outcome,
                item.cost_nano,
                into.now_us,
                into.replica,
            ),
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
    db.execute(
        "INSERT INTO gates (policy, rollout, total) VALUES (?,?,?)"
        " ON CONFLICT (policy, rollout) DO UPDATE SET total = excluded.total",
        (item.policy, item.rollout, item.total),
    )
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
        "INSERT INTO gate_cases (policy, rollout, case_id, state) VALUES (?,?,?,?)"
        " ON CONFLICT (policy, rollout, case_id) DO UPDATE SET state = excluded.state",
        (item.policy, item.rollout, item.case_id, item.state),
    )
    if into.counts(item.policy, item.rollout):
        written.counts[_cases(item, item.state)] += 1
        if found:
            written.counts[_cases(item, found[0])] -= 1


def _cases(item: GateTotal | GateCase, state: str) -> Series:
    return Series(Evidence.GATE_CASES, (*rollout_scope(item.policy, item.rollout), state))
