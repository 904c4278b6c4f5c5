"""The numbers of a status: noise, savings, verdicts, estimates; and when they are worth a write. Pure."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Final

from pointsman.api.v1alpha1.settings import settings
from pointsman.api.v1alpha1.status import NoiseOfRubric, NoiseStatus, Savings
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.moments import moment, unix
from pointsman.rollout.question import versions
from pointsman.rollout.streams import Wobble, whole, windows_of

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus, StepStatus
    from pointsman.rollout.observation import Observation

LIVE_S: Final = 5.0
"""Numbers of a live rollout are written at most this often."""
RESTING_S: Final = 600.0
"""At rest: noise and savings."""
FRESH_S: Final = 60.0
"""At rest, while they are still being measured."""
_LEAST_PRICED: Final = 100


def old_enough(step: StepStatus | None, now: datetime, every_s: float) -> bool:
    """Tell whether numbers may be written again."""
    if step is None or step.counted_at is None:
        return True
    return now.timestamp() - unix(step.counted_at) >= every_s


def noise_status(o: Observation) -> NoiseStatus | None:
    """Return the noise of what serves (of the incumbent); None while nothing is measured."""
    if o.evidence.trouble is not None:
        return o.status.noise
    revision = o.live.incumbent if o.live else o.status.stable_revision or ALWAYS_STRONG
    cfg = settings(o.policy.spec)
    found, windows = [], 0
    for rubric, _ in versions(o.policy):
        noise = Wobble(rubric, o.evidence, cfg.noise_multiplier).of(whole(rubric))
        if isinf(noise.tau_star):
            continue
        windows = max(windows, windows_of(rubric, o.evidence))
        found.append(
            NoiseOfRubric(
                rubric=rubric,
                tau_permille=f"{noise.tau * 1000:.1f}",
                tau_star_permille=f"{noise.tau_star * 1000:.1f}",
                phi=f"{noise.phi:.2f}",
            )
        )
    if not found:
        known = o.status.noise
        return known if known is not None and known.revision == revision else None
    return NoiseStatus(revision=revision, windows=windows, window=f"{cfg.window_s:g}s", rubrics=found)


def savings(o: Observation) -> Savings | None:
    """Return what the stable revision saves, in whole percents; the last known where nothing is."""
    evidence, known = o.evidence, o.status.savings
    if o.status.stable_revision is None:
        return None
    if evidence.trouble is not None or evidence.baseline_cost_usd <= 0:
        return known
    if evidence.priced_requests < _LEAST_PRICED:
        return known
    percent = round(100 * (1 - evidence.cost_usd / evidence.baseline_cost_usd))
    percent = max(percent, -10_000)
    if known is not None and known.permille == percent * 10:
        return known
    return Savings(permille=percent * 10, requests=evidence.priced_requests, display=f"{percent} %")


def _fresh(status: RoutingPolicyStatus, o: Observation) -> bool:
    """Tell whether what serves is still being measured."""
    noise, serves = status.noise, status.stable_revision or ALWAYS_STRONG
    measured = noise is not None and noise.revision == serves and noise.windows >= o.settings.min_windows
    return not measured or (status.savings is None and status.stable_revision is not None)


def with_resting_numbers(status: RoutingPolicyStatus, o: Observation, now: datetime) -> RoutingPolicyStatus:
    """Return the status with noise and savings as they are, if the last ones are old."""
    step = status.step
    if step is None or not old_enough(step, now, FRESH_S if _fresh(status, o) else RESTING_S):
        return status
    found = {"noise": noise_status(o), "savings": savings(o)}
    if found == {"noise": status.noise, "savings": status.savings}:
        return status
    counted = step.model_copy(update={"counted_at": moment(now)})
    return status.model_copy(update={**found, "step": counted})
