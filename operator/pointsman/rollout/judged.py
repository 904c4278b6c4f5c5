"""One stream and what the counts say of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Final, Literal

from pointsman.api.v1alpha1.status import VerdictStatus
from pointsman.rollout.words import clip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.stats.types import Noise, Reading

Verdict = Literal["Pass", "Fail", "Undecided", "Error"]

_SEVERITY: Final = {"Fail": 0, "Error": 1, "Undecided": 2, "Pass": 3}
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of one stream. Drops and margins are shares."""

    stage: Literal["Gate", "Shadow", "Canary"]
    rubric: str
    intent: str
    incumbent: int
    candidate: int
    """Scored answers (pairs, cases) of each arm."""
    drop: float
    low: float
    high: float
    fail_beyond: float
    pass_within: float
    verdict: Verdict
    because: str
    guard: bool = False
    """One of the built-in rubrics: told after the policy's own."""
    log_e: float = 0.0
    """Evidence that it fails, as a natural logarithm: which failed most clearly."""
    reading: Reading | None = None
    noise: Noise | None = None
    p: float = 0.5
    """The incumbent's pass rate."""


def worst_first(judged: Iterable[Judged]) -> list[Judged]:
    """Sort: failed ones by their evidence, then those farthest from passing."""
    return sorted(
        judged,
        key=lambda j: (
            _SEVERITY[j.verdict],
            -j.log_e if j.verdict == "Fail" else 0.0,
            j.pass_within - j.high,
            j.guard,
            j.intent,
        ),
    )


def verdict_statuses(judged: Iterable[Judged]) -> list[VerdictStatus]:
    """Return the worst 20 as the status holds them: bounds rounded to the careful side."""
    return [
        VerdictStatus(
            rubric=j.rubric,
            intent=j.intent,
            stage=j.stage,
            incumbent=j.incumbent,
            candidate=j.candidate,
            drop_permille=round(j.drop * 1000),
            low_permille=max(-1000, floor(j.low * 1000)),
            high_permille=min(1000, ceil(j.high * 1000)),
            fail_beyond_permille=round(j.fail_beyond * 1000),
            pass_within_permille=floor(j.pass_within * 1000 + 1e-9),
            verdict=j.verdict,
            because=clip(j.because),
        )
        for j in worst_first(judged)[:_SHOWN]
    ]
