"""What a report shows, as values. Times are Unix seconds, shares and drops are permille. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A value at a time."""

    at: float
    value: float


Line = tuple[Point, ...]


class StreamKey(NamedTuple):
    """What an interval is about."""

    rollout: str
    stage: str
    rubric: str
    intent: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The last word about a stream, as the API server has it."""

    key: StreamKey
    incumbent: int
    candidate: int
    drop: int
    low: int
    high: int
    fail_beyond: int
    pass_within: int
    verdict: str
    because: str

    @classmethod
    def of(cls, rollout: str, found: Mapping[str, Any]) -> Verdict:
        """Read an entry of `status.verdicts`; what it leaves out has the API's defaults."""
        return cls(
            StreamKey(rollout, found["stage"], found["rubric"], found.get("intent", "")),
            incumbent=found.get("incumbent", 0),
            candidate=found.get("candidate", 0),
            drop=found.get("dropPermille", 0),
            low=found.get("lowPermille", -1000),
            high=found.get("highPermille", 1000),
            fail_beyond=found.get("failBeyondPermille", 0),
            pass_within=found.get("passWithinPermille", 0),
            verdict=found["verdict"],
            because=found.get("because", ""),
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt, from its record."""

    id: str
    candidate: str
    incumbent: str
    began: float
    ended: float | None
    outcome: str
    because: str
    steps: tuple[tuple[str, float, int], ...]
    """(name, when it began, the candidate's weight in it)."""
    verdicts: tuple[Verdict, ...]

    @classmethod
    def of(cls, rollout: Mapping[str, Any], verdicts: Iterable[Mapping[str, Any]]) -> Rollout:
        """Read `status.rollout` of a policy, or `rollout` of a recorded attempt."""
        ended = rollout.get("endedAt")
        return cls(
            id=rollout["id"],
            candidate=rollout["candidate"],
            incumbent=rollout["incumbent"],
            began=unix(rollout["startedAt"]),
            ended=None if ended is None else unix(ended),
            outcome=rollout.get("outcome") or "",
            because=rollout.get("because", ""),
            steps=tuple(
                (step["name"], unix(step["startedAt"]), step.get("weightPermille", 0))
                for step in rollout.get("steps", [])
            ),
            verdicts=tuple(Verdict.of(rollout["id"], found) for found in verdicts),
        )


class Event(NamedTuple):
    """What the operator announced."""

    at: float
    kind: str
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows."""

    policy: str
    """`namespace/name`."""
    written_at: float
    stable: str
    saved: str
    rollouts: tuple[Rollout, ...]
    """Oldest first."""
    weights: Mapping[str, Line]
    """By revision."""
    streams: Mapping[StreamKey, Mapping[str, Line]]
    """By stream, the lines `drop`, `low`, `high`, `fail_beyond`, `pass_within`."""
    cost: Mapping[str, Line]
    """US dollars per 1,000 requests."""
    latency: Mapping[str, Line]
    """Seconds."""
    events: tuple[Event, ...]

    @property
    def span(self) -> tuple[float, float]:
        """From the first rollout's begin to when this was written."""
        began = min((rollout.began for rollout in self.rollouts), default=self.written_at - 60)
        return began, max(self.written_at, began + 1)


def rollouts(policy: Mapping[str, Any], revisions: Iterable[Mapping[str, Any]]) -> tuple[Rollout, ...]:
    """Return every attempt that the API server knows: recorded ones, and that of the policy's status."""
    status = policy.get("status", {})
    found: dict[str, Rollout] = {}
    if status.get("rollout"):
        current = Rollout.of(status["rollout"], status.get("verdicts", []))
        found[current.id] = current
    for revision in revisions:
        for attempt in revision.get("status", {}).get("attempts", []):
            recorded = Rollout.of(attempt["rollout"], attempt.get("verdicts", []))
            found[recorded.id] = recorded
    return tuple(sorted(found.values(), key=lambda rollout: rollout.began))


def unix(moment: str) -> float:
    """Return an RFC 3339 time as Unix seconds."""
    return datetime.fromisoformat(moment).timestamp()
