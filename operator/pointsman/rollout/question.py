"""What to ask Prometheus for: under way of the rollout, at rest of noise and savings. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.api.v1alpha1.rubrics import rubric_version
from pointsman.api.v1alpha1.settings import settings
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.evidence import Question
from pointsman.rollout.moments import unix

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.routing_policy import RoutingPolicy

GUARDS: Final = ("answered", "aborted", "failOpen", "refusal", "retry")
"""Rubrics that are always on, counted for every served request."""
GUARD_VERSION: Final = "guard"

_NOISE_KEPT_S: Final = 7 * 86400.0
_MOST_WINDOWS: Final = 672
"""Seven days of 15-minute windows."""
_SHORT_WINDOW_S: Final = 60.0
_MOST_SHORT_WINDOWS: Final = 96
"""Windows this short are for rollouts of minutes: the latest say enough, and each is a range to read."""


def question(policy: RoutingPolicy) -> Question:
    """Return what the policy's next look needs to know. Without an address it is asked in vain."""
    spec, status = policy.spec, policy.status
    evaluation, cfg = spec.evaluation, settings(policy.spec)
    live = status.rollout if status.rollout is not None and status.rollout.ended_at is None else None
    most = _MOST_WINDOWS if cfg.window_s >= _SHORT_WINDOW_S else _MOST_SHORT_WINDOWS
    resting = status.stable_revision or ALWAYS_STRONG
    return Question(
        namespace=policy.metadata.namespace,
        policy=policy.metadata.name,
        prometheus=evaluation.prometheus.url if evaluation and evaluation.prometheus else "",
        window_s=cfg.window_s,
        rollout=live.id if live else "",
        steps=tuple((step.index, unix(step.started_at)) for step in live.steps) if live else (),
        incumbent=live.incumbent if live else resting,
        noise_windows=max(cfg.min_windows, min(most, int(_NOISE_KEPT_S / cfg.window_s))),
        versions=versions(policy),
        stable=resting,
    )


def versions(policy: RoutingPolicy) -> tuple[tuple[str, str], ...]:
    """Return (rubric, version) of all that decides: the policy's own rubrics, then the guards."""
    evaluation = policy.spec.evaluation
    own = [(rubric.name, rubric_version(rubric)) for rubric in evaluation.rubrics] if evaluation else []
    return (*own, *((guard, GUARD_VERSION) for guard in GUARDS))
