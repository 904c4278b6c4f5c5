"""Rows as the store takes them, and how they are inserted."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.guards import Measures, failed_rubrics
from pointsman.evaluator.totals import Series, capture_series, contributions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pointsman.evaluator.answer import Kept
    from pointsman.evaluator.cases import CaseItem
    from pointsman.evaluator.evidence import ScoreRow
    from pointsman.evaluator.ledger import NodeState
    from pointsman.evaluator.record import AccessRecord
    from pointsman.evaluator.store.database import Database


@dataclass(frozen=True, slots=True)
class CaptureRow:
    """One half of a request's text, redacted."""

    policy: str
    request_id: str
    half: str
    at_us: int
    """When it was received, by our clock: retention counts from here."""
    revision: str
    tier: str
    status: int
    content_type: str
    retention_s: int
    """As the policy had it then: text is never kept longer than was promised when it was written."""
    kept: Kept
    turn_sha256: str = ""
    """Of a request: the key of its reference, taken before anything was struck out."""
    replica: str = ""
    """Who wrote it, once it is read back: that one holds the text as it came, for a while."""


@dataclass(slots=True)
class Batch:
    """What one transaction writes."""

    requests: list[tuple[AccessRecord, Measures]] = field(default_factory=list)
    captures: list[CaptureRow] = field(default_factory=list)
    scores: list[ScoreRow] = field(default_factory=list)
    cases: list[CaseItem] = field(default_factory=list)
    nodes: Sequence[NodeState] = ()
    """Looks at Envoys: only `finished`, `base`, `lost` and `seen_us` are written."""
    now_us: int = 0

    def __len__(self) -> int:
        return len(self.requests) + len(self.captures) + len(self.scores) + len(self.cases)


@dataclass(slots=True)
class Written:
    """What a transaction did."""

    counts: Counter[Series] = field(default_factory=Counter)
    ends_us: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Node: when each of its new requests ended."""
    duplicates: int = 0
    refused: list[CaptureRow] = field(default_factory=list)
    """Text of requests that were to be forgotten."""
    pending: list[tuple[int, AccessRecord]] = field(default_factory=list)
    """New requests of policies, by their row: to be scored."""
    texts: list[CaptureRow] = field(default_factory=list)
    """New texts."""
    scored: list[ScoreRow] = field(default_factory=list)
    """Requests that are no longer pending."""
    void: list[int] = field(default_factory=list)
    """Rows whose scores came too late: scored before, or deleted."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a deletion by session did."""

    requests: int
    texts: int


_INSERT_REQUEST: Final = (
    "INSERT INTO requests (request_id, start_us, node, policy, revision, tier, served_tier, reason,"
    " score, intent, status, flags, attempts, failed, decision_us, ttft_us, duration_us, stream,"
    " prompt_tokens, completion_tokens, cost_nano, baseline_nano, answer_model, captured, session, forgotten,"
    " rollout, step, arm, pending, scorer)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
    " ON CONFLICT DO NOTHING RETURNING id"
)


def insert_requests(
    db: Database,
    requests: Sequence[tuple[AccessRecord, Measures]],
    written: Written,
    replica: str,
) -> None:
    """Insert the requests that are not there yet; `replica`: who scores them."""
    if not requests:
        return
    forgotten: dict[str, int] = dict(db.execute("SELECT session, at_us FROM forgotten").fetchall())
    # Of a session that was forgotten while its request was under way: it is counted, not linked.
    unlinked = [forgotten.get(record.session, -1) >= record.start_us for record, _ in requests]
    rows = [
        _request_row(record, measures, replica, unlink=unlink)
        for (record, measures), unlink in zip(requests, unlinked, strict=True)
    ]
    drop: list[tuple[str, str]] = []
    found = db.each(_INSERT_REQUEST, rows)
    for (record, measures), unlink, inserted in zip(requests, unlinked, found, strict=True):
        if not inserted:
            written.duplicates += 1
            continue
        if record.policy:
            written.pending.append((inserted[0][0], record))
        if unlink:
            drop.append((record.policy, record.request_id))
        written.ends_us[record.node].append(record.end_us)
        for series, amount in contributions(record, measures):
            written.counts[series] += amount
    drop_texts(db, drop)


def _request_row(
    record: AccessRecord, measures: Measures, replica: str, *, unlink: bool
) -> tuple[object, ...]:
    return (
        record.request_id,
        record.start_us,
        record.node,
        record.policy,
        record.revision,
        record.tier,
        record.served_tier,
        record.reason,
        record.score,
        record.intent,
        record.status,
        ",".join(record.flags),
        record.attempts,
        ",".join(sorted(failed_rubrics(record))),
        record.decision_us,
        record.ttft_us,
        record.duration_us,
        record.stream,
        record.prompt_tokens,
        record.completion_tokens,
        measures.cost_nano,
        measures.baseline_nano,
        record.answer_model,
        record.captured,
        "" if unlink else record.session,
        unlink,
        record.rollout,
        record.step,
        record.arm,
        bool(record.policy),
        replica,
    )


FORGOTTEN: Final = "SELECT 1 FROM requests WHERE request_id = ? AND policy || '' = ? AND forgotten LIMIT 1"
"""`|| ''` keeps the policy's own index out of it: SQLite would walk through all of the policy's requests."""

_INSERT_CAPTURE: Final = (
    "INSERT INTO captures (policy, request_id, half, at_us, revision, tier, status,"
    " content_type, form, truncated, retention_s, text, turn_sha256, replica)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING RETURNING 1"
)


def insert_captures(db: Database, captures: Sequence[CaptureRow], written: Written, replica: str) -> None:
    """Insert the texts that are not there yet, but for those whose request is to be forgotten."""
    if not captures:
        return
    refused = db.each(FORGOTTEN, [(capture.request_id, capture.policy) for capture in captures])
    kept = [capture for capture, found in zip(captures, refused, strict=True) if not found]
    written.refused += [capture for capture, found in zip(captures, refused, strict=True) if found]
    rows = [
        (
            capture.policy,
            capture.request_id,
            capture.half,
            capture.at_us,
            capture.revision,
            capture.tier,
            capture.status,
            capture.content_type,
            capture.kept.form,
            capture.kept.truncated,
            capture.retention_s,
            capture.kept.text,
            capture.turn_sha256,
            replica,
        )
        for capture in kept
    ]
    for capture, inserted in zip(kept, db.each(_INSERT_CAPTURE, rows), strict=True):
        if not inserted:
            written.duplicates += 1
            continue
        written.texts.append(capture)
        written.counts[capture_series(capture.policy, capture.half, "stored")] += 1


def drop_texts(db: Database, requests: Iterable[tuple[str, str]]) -> int:
    """Delete the texts of requests, given as (policy, request id); return how many."""
    deleted = db.each("DELETE FROM captures WHERE policy = ? AND request_id = ? RETURNING 1", requests)
    return sum(len(rows) for rows in deleted)
