"""Reads back what a restart left unscored: the rows, and their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pointsman.evaluator.answer import Form, Kept
from pointsman.evaluator.guards import Rubric
from pointsman.evaluator.record import AccessRecord
from pointsman.evaluator.rows import CaptureRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.evaluator.store.database import Database


def read_pending(db: Database, scorer: str, *, handed: bool = False) -> list[tuple[int, AccessRecord]]:
    """Return requests that are neither scored nor given up, oldest row first; `handed`: by others, alone.

    Whether an answer was empty or a refusal is kept only as what it failed; that is as good here.
    """
    rows = db.execute(
        "SELECT id, node, request_id, start_us, duration_us, policy, revision, tier, served_tier, reason,"
        " score, intent, status, flags, attempts, stream, prompt_tokens, completion_tokens, captured,"
        " session, rollout, step, arm, failed FROM requests WHERE pending AND scorer = ? AND (handed OR ?)"
        " ORDER BY id",
        (scorer, not handed),
    )
    return [(row[0], _record(row[1:])) for row in rows]


def _record(row: tuple[object, ...]) -> AccessRecord:
    (*plain, flags, attempts, stream, prompt, completion, captured, session, rollout, step, arm, failed) = row
    failures = str(failed).split(",")
    node, request_id, start_us, duration_us, policy, revision, tier, served, reason, score, intent, status = (
        plain
    )
    return AccessRecord(
        node=cast("str", node),
        request_id=cast("str", request_id),
        start_us=cast("int", start_us),
        duration_us=cast("int", duration_us),
        policy=cast("str", policy),
        revision=cast("str", revision),
        tier=cast("str", tier),
        served_tier=cast("str", served),
        reason=cast("str", reason),
        score=cast("float | None", score),
        intent=cast("str", intent),
        status=cast("int", status),
        flags=tuple(name for name in str(flags).split(",") if name),
        attempts=cast("int", attempts),
        stream=bool(stream),
        prompt_tokens=cast("int | None", prompt),
        completion_tokens=cast("int | None", completion),
        empty=Rubric.ANSWERED.value in failures,
        refusal=Rubric.REFUSAL.value in failures,
        captured=bool(captured),
        session=cast("str", session),
        rollout=cast("str", rollout),
        step=cast("int", step),
        arm=cast("str", arm),
    )


def read_texts(db: Database, requests: Iterable[tuple[str, str]]) -> list[CaptureRow]:
    """Return the stored texts of requests, given as (policy, request id)."""
    halves = db.each(
        "SELECT form, text, truncated, turn_sha256, replica, policy, request_id, half, at_us, revision, tier,"
        " status, content_type, retention_s FROM captures WHERE policy = ? AND request_id = ?",
        requests,
    )
    return [
        CaptureRow(  # type: ignore[misc]  # the rest are no keywords
            *row[5:],
            kept=Kept(cast("Form", row[0]), row[1], truncated=bool(row[2])),
            turn_sha256=row[3],
            replica=row[4],
        )
        for found in halves
        for row in found
    ]
