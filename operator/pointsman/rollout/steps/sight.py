"""Whether there is evidence to look at. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import ProgressingReason
from pointsman.api.v1alpha1.status import RolloutStatus
from pointsman.rollout.evidence import Trouble
from pointsman.rollout.moments import unix

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.rollout.observation import Observation

GRACE_S: Final = 20.0
"""After a step's begin the evaluator must hear of it and be scraped: until then silence is no trouble."""


def blindness(
    o: Observation, rollout: RolloutStatus, now: datetime, usual: ProgressingReason
) -> tuple[ProgressingReason, str] | None:
    """Return why nothing can be judged now, and under which reason to say so; None: there is evidence."""
    trouble = o.evidence.trouble
    if trouble is None:
        return None
    words = (
        o.evidence.words
        or {
            Trouble.NOT_CONFIGURED: "spec.evaluation.prometheus.url is not set; set it",
            Trouble.UNREACHABLE: "Prometheus does not answer",
            Trouble.STALE: "the evaluator's counts are old or missing",
            Trouble.NOT_YET: "Prometheus was not asked yet",
        }[trouble]
    )
    begun = unix(rollout.steps[-1].started_at)
    young = now.timestamp() - begun < GRACE_S and trouble in {Trouble.STALE, Trouble.NOT_YET}
    if young or trouble == Trouble.NOT_YET:
        return usual, f"waiting for the first counts ({words})"
    return ProgressingReason.EVIDENCE_MISSING, f"no evidence, so nothing is decided: {words}"
