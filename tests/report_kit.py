"""A policy's objects and series, as a report reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pointsman.lab.report.data import Event, Point, Report, StreamKey, rollouts

BEGAN = 1_790_000_000.0
REASON = "correct in engineering: drop 28.7 points (9.1 to 44.0) of 138 candidate answers"


def moment(seconds: float) -> str:
    """Return a time of the story, RFC 3339."""
    return datetime.fromtimestamp(BEGAN + seconds, UTC).isoformat(timespec="microseconds")


def verdict(stage: str, intent: str, drop: tuple[int, int, int], word: str) -> dict[str, Any]:
    """Return an entry of `status.verdicts`. `drop`: measured, low, high."""
    return {
        "rubric": "correct",
        "intent": intent,
        "stage": stage,
        "incumbent": 420,
        "candidate": 138,
        "dropPermille": drop[0],
        "lowPermille": drop[1],
        "highPermille": drop[2],
        "failBeyondPermille": 40,
        "passWithinPermille": 150,
        "verdict": word,
    }


def attempt(
    identity: str, outcome: str, span: tuple[float, float], *, because: str, stage: str
) -> dict[str, Any]:
    """Return an entry of a revision's `status.attempts`."""
    began, ended = span
    return {
        "rollout": {
            "id": identity,
            "candidate": f"exam-{identity}",
            "incumbent": "always-strong",
            "startedAt": moment(began),
            "endedAt": moment(ended),
            "outcome": outcome,
            "because": because,
            "steps": [
                {"index": 0, "name": "Noise", "startedAt": moment(began)},
                {"index": 1, "name": "Canary", "weightPermille": 250, "startedAt": moment(began + 40)},
            ],
        },
        "verdicts": [
            verdict(stage, "engineering", (287, 91, 440), "Fail" if outcome != "Promoted" else "Pass"),
            verdict(stage, "", (17, -8, 52), "Pass"),
            verdict(stage, "law", (0, -1000, 1000), "Undecided"),
        ],
        "recordedAt": moment(ended),
    }


def objects(because: str = REASON, stage: str = "Canary") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a policy and its revisions after one promotion and one rollback."""
    first = attempt("aaaa0001", "Promoted", (0, 100), because="", stage=stage)
    second = attempt("bbbb0002", "RolledBack", (120, 190), because=because, stage=stage)
    policy = {
        "metadata": {"namespace": "default", "name": "exam"},
        "status": {
            "stableRevision": "exam-aaaa0001",
            "rollout": second["rollout"],
            "verdicts": second["verdicts"],
        },
    }
    revisions: list[dict[str, Any]] = [{"status": {"attempts": [each]}} for each in (first, second)]
    return policy, [*revisions, {}]


POLICY, REVISIONS = objects()


def report(because: str = REASON, stage: str = "Canary") -> Report:
    """Return a report of it all."""
    policy, revisions = objects(because, stage)
    times = range(0, 200, 2)
    key = StreamKey("bbbb0002", stage, "correct", "engineering")
    return Report(
        policy="default/exam",
        written_at=BEGAN + 200,
        stable="exam-aaaa0001",
        saved="29 %",
        rollouts=rollouts(policy, revisions),
        weights={
            "always-strong": tuple(Point(BEGAN + t, 1000.0 if t < 40 else 750.0) for t in times if t < 100),
            "exam-aaaa0001": tuple(Point(BEGAN + t, 250.0 if t < 100 else 1000.0) for t in times if t >= 40),
        },
        streams={
            key: {
                bound: tuple(Point(BEGAN + t, value + (190 - t)) for t in times if 160 <= t < 190)
                for bound, value in (("drop", 287.0), ("low", 91.0), ("high", 440.0))
            }
        },
        cost={"spent": tuple(Point(BEGAN + t, 0.4) for t in times)},
        latency={"whole answer, half within": tuple(Point(BEGAN + t, 0.12) for t in times)},
        events=(Event(BEGAN + 190, "Warning", "RolledBack", because),),
    )
