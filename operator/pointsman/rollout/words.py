"""Numbers for people: points of a pass rate, intervals, shares, the verdict of one stream. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.status import StepStatus
    from pointsman.rollout.judged import Judged

LONGEST: Final = 1024
"""Characters that a field of the status holds."""


def points(share: float) -> str:
    """Write a share as points of a pass rate: 3.1."""
    return f"{share * 100:.1f}"


def percent(permille: int) -> str:
    """Write a weight: 25 %, 0.5 %."""
    return f"{permille / 10:g} %"


def interval(low: float, high: float) -> str:
    """Write what is proven of a drop: 1.2 to 5.0."""
    if low <= -1 and high >= 1:
        return "not known yet"
    if low <= -1:
        return f"at most {points(high)}"
    if high >= 1:
        return f"at least {points(low)}"
    return f"{points(low)} to {points(high)}"


def name_of(rubric: str, intent: str) -> str:
    """Write a stream's name: correct in law."""
    return f"{rubric} in {intent}" if intent else rubric


def measured(judged: Judged) -> str:
    """Write what was measured of a stream, with its interval and numbers."""
    name = name_of(judged.rubric, judged.intent)
    if judged.candidate == 0:
        return f"{name}: no answer of the candidate is scored yet"
    counted = {
        "Gate": f"{judged.candidate} cases",
        "Shadow": f"{judged.candidate} pairs",
        "Canary": f"{judged.candidate} candidate and {judged.incumbent} incumbent answers",
    }[judged.stage]
    return f"{name}: drop {points(judged.drop)} points ({interval(judged.low, judged.high)}) of {counted}"


def clip(text: str) -> str:
    """Cut a text to what a status field holds."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def told(step: StepStatus) -> str:
    """Return the step in one sentence, for the condition."""
    needed = ""
    if step.samples_needed and step.minutes_needed is not None:
        what = "pairs" if step.name == "Shadow" else "candidate answers"
        needed = f"; about {step.samples_needed} more {what}, {step.minutes_needed} minutes"
    return f"{step.display}: {step.because}{needed}" if step.because else step.display
