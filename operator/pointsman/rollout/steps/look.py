"""What a look at a step found. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.rollout.judged import worst_first

if TYPE_CHECKING:
    from pointsman.api.conditions import ProgressingReason
    from pointsman.api.v1alpha1.status import Outcome
    from pointsman.rollout.judged import Judged


@dataclass(frozen=True, slots=True)
class Look:
    """One step, looked at: it goes on, it has failed, or it holds."""

    reason: ProgressingReason
    because: str
    passed: bool = False
    failed: Outcome | None = None
    judged: tuple[Judged, ...] = ()
    blind: bool = False
    """The counts are missing or stale: nothing was judged."""
    due_s: float | None = None
    """Unix time at which the passing of time alone may change this."""
    deadline_s: float | None = None
    """Unix time at which it is inconclusive; None: it may last."""
    display: str = ""


def first(judged: tuple[Judged, ...], verdict: str) -> Judged | None:
    """Return the worst stream with a verdict."""
    return next((one for one in worst_first(judged) if one.verdict == verdict), None)
