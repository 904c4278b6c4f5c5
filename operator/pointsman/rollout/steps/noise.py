"""Noise: how far two halves of the incumbent's own traffic differ, before anything is compared. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.conditions import ProgressingReason
from pointsman.rollout.evidence import ArmCoverage
from pointsman.rollout.moments import unix
from pointsman.rollout.question import versions
from pointsman.rollout.steps.look import Look
from pointsman.rollout.steps.sight import blindness
from pointsman.rollout.streams import windows_of

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus
    from pointsman.rollout.observation import Observation


def look(o: Observation, rollout: RolloutStatus, now: datetime) -> Look:
    """Count the incumbent's windows: each rubric needs minWindows of them."""
    reason, cfg = ProgressingReason.MEASURING_NOISE, o.settings
    deadline = unix(rollout.steps[-1].started_at) + cfg.noise_max_s
    blind = blindness(o, rollout, now, reason)
    if blind is not None:
        return Look(*blind, blind=True, deadline_s=deadline, display="Noise")
    counts = {rubric: windows_of(rubric, o.evidence) for rubric, _ in versions(o.policy)}
    least = min(counts, key=lambda rubric: counts[rubric])
    display = f"Noise {min(counts[least], cfg.min_windows)}/{cfg.min_windows}"
    if counts[least] >= cfg.min_windows:
        words = f"{counts[least]} windows of {rollout.incumbent} are measured"
        return Look(reason, words, passed=True, deadline_s=deadline, display=display)
    words = (
        f"{least}: {counts[least]} of {cfg.min_windows} windows of {rollout.incumbent} with scored answers "
        "in both halves of its sessions"
    )
    coverage = o.evidence.coverage.get((least, "incumbent"), ArmCoverage())
    if counts[least] == 0 and coverage.scored == 0 and coverage.unscored:
        words = f"{words}; none of {coverage.unscored} answers could be scored: check the rubric's reference"
    return Look(reason, words, deadline_s=deadline, display=display)
