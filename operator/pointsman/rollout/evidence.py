"""What Prometheus says about a rollout, as frozen counts; and what has to be asked. Pure.

Counts only, never rates: whatever is computed from them, is computed anew at every look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Tally(NamedTuple):
    """Scored answers of one arm, and how many of them passed."""

    passes: int = 0
    total: int = 0


class StreamKey(NamedTuple):
    """One rubric, overall (`intent` "") or in one intent."""

    rubric: str
    intent: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Both arms' counts of one window: aligned, and cut at every step."""

    step: int
    """Index in status.rollout.steps in which the requests were served."""
    start_s: float
    """Unix time at which the window begins."""
    incumbent: Tally
    candidate: Tally


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Paired outcomes of one stream: who passed."""

    both: int = 0
    only_incumbent: int = 0
    only_candidate: int = 0
    neither: int = 0

    @property
    def total(self) -> int:
        """Number of pairs."""
        return self.both + self.only_incumbent + self.only_candidate + self.neither


class HalfWindow(NamedTuple):
    """One window of the incumbent's own sessions, split into two halves."""

    a: Tally
    b: Tally


class Moments(NamedTuple):
    """Session moments of one rubric: Σx², Σxn, Σn² over sessions (x passes of n scored), and the totals."""

    xx: int = 0
    xn: int = 0
    nn: int = 0
    passes: int = 0
    total: int = 0


class GateMoments(NamedTuple):
    """Paired differences d of the gate's cases: counts and sums, per case and per cluster (D, n)."""

    n: int = 0
    clusters: int = 0
    d: int = 0
    dd: int = 0
    D2: int = 0
    Dn: int = 0
    n2: int = 0


@dataclass(frozen=True, slots=True)
class GateProgress:
    """The gate's cases, and what each rubric says of them."""

    total: int = 0
    scored: int = 0
    failed: int = 0
    rubrics: dict[str, GateMoments] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShadowProgress:
    """What became of the requests that the candidate was asked about."""

    agreed: int = 0
    replayed: int = 0
    failed: int = 0
    skipped: int = 0
    over_budget: int = 0
    cost_usd: float = 0.0


class ArmCoverage(NamedTuple):
    """Of one arm's answers under one rubric: how many could be scored and how many could not."""

    scored: int = 0
    unscored: int = 0


class Ended(NamedTuple):
    """How an attempt ended, as the evaluator saw it in the policy's status then."""

    uid: str
    """The policy's: one of the same name that was made anew is another."""
    revision: str
    rollout: str
    """Its id; "": none was under way."""
    attempt: int
    outcome: str
    at_s: float
    """Unix time, by the clock of the operator that ended it."""


class Trouble(StrEnum):
    """Why there is no evidence. None of them is good news, and none is bad news."""

    NOT_CONFIGURED = "NotConfigured"
    """spec.evaluation.prometheus is not set."""
    UNREACHABLE = "Unreachable"
    """Prometheus does not answer, or answers with an error."""
    STALE = "Stale"
    """The newest scrape of the evaluator is too old, or there is none."""
    NOT_YET = "NotYet"
    """Nothing was asked yet: right after a start, or a rollout that has just begun."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one policy's rollout needs to know. Two equal questions have one answer."""

    namespace: str
    policy: str
    prometheus: str
    """Base URL."""
    window_s: float
    rollout: str = ""
    """Id; "" where none is under way."""
    steps: tuple[tuple[int, float], ...] = ()
    """(index, Unix time of its begin), in order."""
    incumbent: str = ""
    """Revision whose halves and moments are asked for."""
    noise_windows: int = 0
    """How many of the latest windows of the halves."""
    versions: tuple[tuple[str, str], ...] = ()
    """(rubric, version): other versions' counts are of another definition. Guards have version "guard"."""
    stable: str = ""
    """Revision whose cost is asked for."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The answer. With `trouble`, everything else may be empty or old."""

    at_s: float
    """Unix time that it is about."""
    trouble: Trouble | None = None
    words: str = ""
    """What is wrong, for people."""
    scored_until_s: float = 0.0
    """Everything that was served before is scored or given up."""
    canary: dict[StreamKey, tuple[Window, ...]] = field(default_factory=dict)
    shadow: dict[StreamKey, PairCounts] = field(default_factory=dict)
    shadow_progress: ShadowProgress = field(default_factory=ShadowProgress)
    gate: GateProgress = field(default_factory=GateProgress)
    halves: dict[StreamKey, tuple[HalfWindow, ...]] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    """By rubric, of the incumbent."""
    coverage: dict[tuple[str, str], ArmCoverage] = field(default_factory=dict)
    """By (rubric, arm)."""
    cost_usd: float = 0.0
    """Of the stable revision since it began to serve, and what the same tokens cost at the last tier."""
    baseline_cost_usd: float = 0.0
    priced_requests: int = 0
    ended: tuple[Ended, ...] = ()
    """The last end of each of the policy's revisions; holds whatever the trouble with the counts is."""
