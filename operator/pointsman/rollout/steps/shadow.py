"""Shadow: the candidate's answers to captured requests beside the incumbent's, before any traffic. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.conditions import ProgressingReason
from pointsman.rollout.moments import unix
from pointsman.rollout.steps.look import Look, first
from pointsman.rollout.steps.sight import blindness
from pointsman.rollout.verdicts import shadow_verdicts

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus
    from pointsman.rollout.observation import Observation


def look(o: Observation, rollout: RolloutStatus, now: datetime) -> Look:
    """Judge the pairs. In mode Observe they are told, and nothing follows."""
    cfg = o.settings
    observing = cfg.mode == "Observe"
    reason = ProgressingReason.OBSERVING if observing else ProgressingReason.SHADOWING
    deadline = None if observing else unix(rollout.steps[-1].started_at) + cfg.shadow_max_s
    if not cfg.shadow and not observing:
        return Look(reason, "spec.rollout.shadow.mode is Off", passed=True, display="Shadow")
    blind = blindness(o, rollout, now, reason)
    if blind is not None:
        return Look(*blind, blind=True, deadline_s=deadline, display="Shadow")
    judged = shadow_verdicts(o, rollout)
    failed, unclear = first(judged, "Fail"), first(judged, "Error") or first(judged, "Undecided")
    if failed is not None and not observing:
        return Look(reason, failed.because, failed="ShadowFailed", judged=judged, display="Shadow")
    worst = failed or unclear or judged[0]
    words = f"{worst.because}; {_spent(o)}"
    passed = failed is None and unclear is None and not observing
    if observing:
        verdict = "would be refused" if failed else "is undecided" if unclear else "would pass"
        words = f"observed only, {rollout.candidate} {verdict}: {words}"
    return Look(reason, words, passed=passed, judged=judged, deadline_s=deadline, display="Shadow")


def _spent(o: Observation) -> str:
    """Say what the shadow did and cost."""
    shadow = o.evidence.shadow_progress
    told = f"{shadow.agreed} requests decided alike, {shadow.replayed} answered anew"
    if shadow.over_budget:
        limit = o.settings.shadow_budget_usd_per_hour
        told = f"{told}, {shadow.over_budget} left out over the budget of {limit:g} USD an hour"
    return f"{told}, {shadow.cost_usd:.2f} USD"
