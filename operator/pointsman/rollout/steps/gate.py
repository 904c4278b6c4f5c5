"""Gate: both revisions on the same cases, before any traffic; looked at once, when all are done. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.conditions import ProgressingReason
from pointsman.rollout.moments import unix
from pointsman.rollout.steps.look import Look, first
from pointsman.rollout.steps.sight import blindness
from pointsman.rollout.verdicts import gate_verdicts

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus
    from pointsman.rollout.observation import Observation


def look(o: Observation, rollout: RolloutStatus, now: datetime) -> Look:
    """Judge the gate's cases."""
    reason, cfg = ProgressingReason.GATING, o.settings
    deadline = unix(rollout.steps[-1].started_at) + cfg.gate_max_s
    if not cfg.gate:
        return Look(reason, "spec.evaluation.gate is not set any more", passed=True, display="Gate")
    blind = blindness(o, rollout, now, reason)
    if blind is not None:
        return Look(*blind, blind=True, deadline_s=deadline, display="Gate")
    cases = o.evidence.gate
    done = cases.scored + cases.failed
    display = f"Gate {done}/{cases.total}" if cases.total else "Gate"
    if cases.total == 0 or done < cases.total:
        words = f"{done} of {cases.total} cases are done" if cases.total else "the cases are being fetched"
        return Look(reason, words, deadline_s=deadline, display=display)
    judged = gate_verdicts(o)
    failed, unclear = first(judged, "Fail"), first(judged, "Undecided")
    if failed is not None and cfg.mode != "Observe":
        return Look(reason, failed.because, failed="GateFailed", judged=judged, display=display)
    if unclear is not None and cfg.gate_required and cfg.mode != "Observe":
        words = f"{unclear.because}; spec.evaluation.gate.required holds the rollout"
        return Look(reason, words, judged=judged, deadline_s=deadline, display=display)
    told = (failed or unclear or (judged[0] if judged else None)) if judged else None
    words = told.because if told is not None else "the policy has no rubric to score cases with"
    return Look(reason, words, passed=True, judged=judged, deadline_s=deadline, display=display)
